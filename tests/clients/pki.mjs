// An authority of our own, and the certificates that a server shows.

import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** An authority, and certificates for 127.0.0.1 that it issues. */
export class Pki {
  constructor() {
    this.folder = mkdtempSync(join(tmpdir(), "corewire-tls-"));
    this.path = (name) => join(this.folder, name);
    this.openssl("req", "-x509", ...this.newKey("ca.key"), "-out", this.path("ca.pem"),
      "-days", "2", "-subj", "/CN=Test CA");
    this.ca = readFileSync(this.path("ca.pem"), "utf8");
    this.issue(1);
  }

  openssl(...args) {
    return execFileSync("openssl", args, { stdio: ["ignore", "pipe", "pipe"], encoding: "utf8" });
  }

  newKey(name) {
    const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    return [...curve, "-keyout", this.path(name)];
  }

  /** Puts a certificate with this serial number in place. */
  issue(serial) {
    this.openssl("req", ...this.newKey("new.key"), "-out", this.path("new.csr"),
      "-subj", "/CN=127.0.0.1");
    writeFileSync(this.path("names"), "subjectAltName=IP:127.0.0.1,DNS:localhost\n");
    this.openssl("x509", "-req", "-in", this.path("new.csr"), "-CA", this.path("ca.pem"),
      "-CAkey", this.path("ca.key"), "-set_serial", String(serial), "-days", "2",
      "-extfile", this.path("names"), "-out", this.path("new.pem"));
    renameSync(this.path("new.key"), this.path("tls.key"));
    renameSync(this.path("new.pem"), this.path("tls.pem"));
  }

  spoil() {
    writeFileSync(this.path("tls.pem"), "no certificate\n");
  }

  flags(...more) {
    return ["--tls-listen", "127.0.0.1:0", "--tls-cert-file", this.path("tls.pem"),
      "--tls-key-file", this.path("tls.key"), ...more];
  }

  remove() {
    rmSync(this.folder, { recursive: true });
  }
}
