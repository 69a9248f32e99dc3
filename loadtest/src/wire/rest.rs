//! REST calls, each on the connection it was queued for.

use std::rc::Rc;

use super::helpers::{Answer, Helpers, Line, News};
use super::http::Http;
use super::target::Target;

/// Where REST calls go.
#[derive(Clone, Debug)]
pub struct Rest {
    /// The public listener: `/pub`.
    pub public: Target,
    /// The admin listener: everything else.
    pub admin: Target,
    /// The key, if there is one.
    pub key: Option<String>,
}

/// Makes the calls of a line in their order, as long as there is a lane.
pub(super) async fn serve(helpers: Rc<Helpers>, line: Rc<Line>, rest: Rc<Rest>) {
    let mut http: Option<Http> = None;
    loop {
        let call = line.calls.borrow_mut().pop_front();
        let Some(call) = call else {
            line.bell.wait().await;
            continue;
        };
        helpers.active.set(helpers.active.get() + 1);
        let (tag, since) = (call.tag, call.since);
        let status = make(&mut http, &rest, call.path, call.body).await;
        helpers.active.set(helpers.active.get() - 1);
        if status.is_err() {
            http = None;
        }
        helpers.tell(News::Answer(Answer { tag, since, status }));
    }
}

async fn make(
    http: &mut Option<Http>,
    rest: &Rest,
    path: &str,
    body: Vec<u8>,
) -> Result<u16, String> {
    let line = if let Some(line) = http {
        line
    } else {
        let target = if path == "/pub" { &rest.public } else { &rest.admin };
        http.insert(Http::connect(target, rest.key.as_deref()).await?)
    };
    let reply = line.post(path, "application/json", body).await?;
    Ok(reply.status)
}
