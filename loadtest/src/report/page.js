for (const figure of document.querySelectorAll(".chart")) {
  const plot = figure.querySelector(".plot");
  const lines = JSON.parse(figure.querySelector("script").textContent);
  const rule = Object.assign(document.createElement("div"), { className: "rule", hidden: true });
  const tip = Object.assign(document.createElement("div"), { className: "tip", hidden: true });
  plot.append(rule, tip);
  const hide = () => { rule.hidden = tip.hidden = true; };
  const nearest = (points, x) =>
    points.reduce((best, point) => Math.abs(point[0] - x) < Math.abs(best[0] - x) ? point : best);
  const show = (event) => {
    const box = plot.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width * 1000;
    const filled = lines.filter((line) => line.points.length);
    if (x < -30 || x > 1030 || !filled.length) return hide();
    const all = filled.map((line) => [line, nearest(line.points, x)]);
    const at = nearest(all.map(([, point]) => point), x);
    tip.replaceChildren(Object.assign(document.createElement("div"), { textContent: at[2] }));
    for (const [line, point] of all) {
      if (Math.abs(point[0] - at[0]) > 25) continue;
      const row = document.createElement("div");
      row.innerHTML = `<svg viewBox="0 0 10 8"><path class="dot t${line.tint}" d="M5 4h0"/></svg>`;
      const value = Object.assign(document.createElement("b"), { textContent: point[3] });
      row.append(line.label ? `${line.label} ` : "", value);
      tip.append(row);
    }
    rule.style.left = `${at[0] / 10}%`;
    tip.style.left = at[0] > 500 ? "auto" : `calc(${at[0] / 10}% + .6rem)`;
    tip.style.right = at[0] > 500 ? `calc(${100 - at[0] / 10}% + .6rem)` : "auto";
    rule.hidden = tip.hidden = false;
  };
  plot.addEventListener("pointermove", show);
  plot.addEventListener("pointerdown", show);
  plot.addEventListener("pointerleave", hide);
}
