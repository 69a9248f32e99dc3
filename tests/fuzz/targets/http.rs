//! Request heads, bodies and queries.

use corewire::http::{
    Body, BodyError, BodyLength, Cors, EngineQuery, Origins, Query, Response, accept, decode,
    origin_of, parse_head,
};

use super::{chance, choice, pieces};

/// Bytes a head may have here: small, so that the limit is met.
const HEAD_BYTES_MAX: usize = 600;

/// One head, one reading: whole, cut, kept, and by `httparse`.
pub(super) fn head(bytes: &[u8]) {
    let whole = parse_head(bytes, HEAD_BYTES_MAX);
    let mut rng = chance(bytes);
    let cuts = [rng.below(bytes.len() + 1), bytes.len().saturating_sub(1)];
    let Ok(Some((head, len))) = whole else {
        for cut in cuts {
            let part = parse_head(&bytes[..cut], HEAD_BYTES_MAX);
            assert!(!matches!(part, Ok(Some(_))), "whole only where it is cut at {cut}");
            assert!(whole.is_err() || part.is_ok(), "refused at {cut} and not as a whole");
        }
        return;
    };
    assert!(len <= HEAD_BYTES_MAX.min(bytes.len()), "longer than what there is");
    for cut in cuts.map(|cut| cut.min(len - 1)) {
        let part = parse_head(&bytes[..cut], HEAD_BYTES_MAX);
        assert!(matches!(part, Ok(None)), "{part:?} at {cut} of a head that is good");
    }
    // What is kept of a head reads alike, and what follows it changes nothing.
    let kept = parse_head(&bytes[..len], HEAD_BYTES_MAX).expect("read before").expect("whole");
    assert_eq!((format!("{:?}", kept.0), kept.1), (format!("{head:?}"), len));
    let mut headers = [httparse::EMPTY_HEADER; 128];
    let mut oracle = httparse::Request::new(&mut headers);
    assert_eq!(oracle.parse(bytes), Ok(httparse::Status::Complete(len)), "httparse reads another");
    assert_eq!((oracle.method, oracle.path), (Some(head.method), Some(head.target)));
    assert_eq!(oracle.headers.len(), head.headers().count());
    let lengths =
        oracle.headers.iter().filter(|one| one.name.eq_ignore_ascii_case("content-length"));
    match head.body {
        BodyLength::Chunked => assert_eq!(lengths.count(), 0, "two ways to frame one body"),
        BodyLength::Length(length) => {
            let said: Vec<_> = lengths.map(|one| one.value).collect();
            assert_eq!(said.len(), 1, "{said:?}");
            assert!(length == 0 || said[0] == length.to_string().as_bytes() || said[0][0] == b'0');
        }
        BodyLength::None => assert_eq!(lengths.count(), 0),
    }
    assert!(head.path().starts_with('/') || head.target == "*", "{:?}", head.path());
    if let Some(text) = head.query() {
        query(text.as_bytes());
    }
    answers(&head);
}

/// What is echoed of a request ends no header line of an answer.
fn answers(head: &corewire::http::Head<'_>) {
    let origin = origin_of(head).ok().flatten();
    let cors = Cors {
        origins: Origins::from_list(vec![String::from("http://b"), String::from("http://c")]),
        credentials: true,
        ..Cors::default()
    };
    let headers = cors.headers(origin);
    let (names, mut out) = (headers.len(), Vec::new());
    Response::text(200, "ok").with_first(headers).write(&mut out, head.keep_alive);
    answer_has(&out, names + 3, "an answer");
    let wanted = head.header("access-control-request-headers");
    if let Some(preflight) = cors.preflight(origin, wanted) {
        let mut out = Vec::new();
        preflight.write(&mut out, true);
        answer_has(&out, 12, "a preflight's answer");
    }
    match accept(head, &[]) {
        Ok(out) => answer_has(&out, 4, "an upgrade"),
        Err(error) => {
            let mut out = Vec::new();
            error.response().write(&mut out, false);
            answer_has(&out, 6, "a refusal");
        }
    }
}

fn answer_has(out: &[u8], headers_max: usize, what: &str) {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut answer = httparse::Response::new(&mut headers);
    let read = answer.parse(out).expect("an answer of ours is an answer");
    let httparse::Status::Complete(len) = read else { panic!("{what} has no end") };
    let count = answer.headers.len();
    assert!(count <= headers_max, "{what} has {count} headers: {}", String::from_utf8_lossy(out));
    let body = answer.headers.iter().find(|one| one.name.eq_ignore_ascii_case("content-length"));
    let body = body.map_or(0, |one| String::from_utf8_lossy(one.value).parse().expect("a number"));
    assert_eq!(out.len(), len + body, "{what} is longer than it says");
}

/// A body is the same in one piece and in many, and no more than it may be.
pub(super) fn body(bytes: &[u8]) {
    let (first, rest) = choice(bytes);
    let length = match first % 3 {
        2 => BodyLength::Length(u64::from(first >> 2)),
        _ => BodyLength::Chunked,
    };
    let bytes_max = usize::from(first >> 2) + 8;
    let whole = read_body(length, &[rest], bytes_max);
    assert_eq!(read_body(length, &pieces(rest, 4), bytes_max), whole, "other pieces, other body");
    let (out, used, done) = match whole {
        Ok(read) => read,
        Err(error) => return assert!(matches!(error.status(), 400 | 413)),
    };
    assert!(out.len() <= bytes_max && out.len() <= used && used <= rest.len());
    assert!(done || used == rest.len(), "bytes of an open body are left");
    if length != BodyLength::Chunked {
        return assert_eq!(out, &rest[..used]);
    }
    if done {
        assert_eq!(oracle_chunks(rest), Some(out.clone()), "httparse reads another body");
        let again = format!("{:x}\r\n", out.len()).into_bytes();
        let again = [again, out.clone(), b"\r\n0\r\n\r\n".to_vec()].concat();
        let again: &[u8] = if out.is_empty() { b"0\r\n\r\n" } else { &again };
        assert_eq!(read_body(length, &[again], bytes_max), Ok((out, again.len(), true)));
    }
}

type Read = (Vec<u8>, usize, bool);

fn read_body(length: BodyLength, pieces: &[&[u8]], max: usize) -> Result<Read, BodyError> {
    let (mut body, mut out, mut used) = (Body::new(length), Vec::new(), 0);
    // As the shard does: a length is judged before anything comes.
    body.feed(&[], &mut out, max)?;
    for piece in pieces {
        let (count, done) = body.feed(piece, &mut out, max)?;
        used += count;
        assert_eq!(done, body.is_done());
        if done {
            break;
        }
    }
    Ok((out, used, body.is_done()))
}

/// The payload by `httparse`'s reading of chunk sizes.
fn oracle_chunks(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    loop {
        let Ok(httparse::Status::Complete((start, size))) = httparse::parse_chunk_size(rest) else {
            return None;
        };
        if size == 0 {
            return Some(out);
        }
        let end = start.checked_add(usize::try_from(size).ok()?)?;
        out.extend_from_slice(rest.get(start..end)?);
        rest = rest.get(end..)?.strip_prefix(b"\r\n")?;
    }
}

/// Two readers of one query agree, and what was read can be written again.
pub(super) fn query(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (query, engine) = (Query::parse(&text), EngineQuery::parse(&text));
    assert_eq!(engine.eio.as_deref(), query.get("EIO"));
    assert_eq!(engine.transport.as_deref(), query.get("transport"));
    assert_eq!(engine.sid.as_deref(), query.get("sid").filter(|sid| !sid.is_empty()));
    assert_eq!(engine.b64, query.get("b64").is_some_and(|b64| !b64.is_empty()));
    assert_eq!(engine.j.as_deref(), query.get("j"));
    // One byte that is no UTF-8 becomes three.
    let size: usize = query.iter().map(|(key, value)| key.len() + value.len()).sum();
    assert!(size <= text.len() * 3, "{size} bytes out of {}", text.len());
    let encode = |text: &str| text.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
    let pairs: Vec<String> =
        query.iter().map(|(key, value)| format!("{}={}", encode(key), encode(value))).collect();
    let again = Query::parse(&pairs.join("&"));
    assert!(again == query, "{query:?} is not what it was written as");
    assert_eq!(decode(&encode(&text)), text);
}
