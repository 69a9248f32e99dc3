//! One HTTP connection on monoio-http's client codec.
//!
//! The codec cannot give its stream back, so WebSocket upgrades are not made here. It trusts the
//! server: there is no limit on a body, which for a load test of one's own server is fine.

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use http::{Method, Request, Uri};
use monoio::io::sink::SinkExt as _;
use monoio::io::stream::Stream as _;
use monoio::net::TcpStream;
use monoio_http::common::body::{BodyExt as _, HttpBody};
use monoio_http::h1::codec::ClientCodec;
use monoio_http::h1::payload::{FixedPayload, Payload};

use super::target::Target;

/// A connection that is kept for the next request.
pub(super) struct Http {
    codec: ClientCodec<TcpStream>,
    host: HeaderValue,
    key: Option<HeaderValue>,
}

/// A status and a body.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Bytes,
}

impl Http {
    /// Connects. With `key` every request carries it as a bearer.
    pub(super) async fn connect(target: &Target, key: Option<&str>) -> Result<Self, String> {
        let stream = TcpStream::connect_addr(target.address)
            .await
            .map_err(|why| format!("connect: {why}"))?;
        stream.set_nodelay(true).map_err(|why| format!("connect: {why}"))?;
        let value = |text: &str| HeaderValue::from_str(text).map_err(|why| why.to_string());
        Ok(Self {
            codec: ClientCodec::new(stream),
            host: value(&target.host)?,
            key: key.map(|key| value(&format!("Bearer {key}"))).transpose()?,
        })
    }

    /// GET.
    pub(super) async fn get(&mut self, path: &str) -> Result<Reply, String> {
        self.call(Method::GET, path, None).await
    }

    /// POST of a body of this type.
    pub(super) async fn post(
        &mut self,
        path: &str,
        kind: &'static str,
        body: Vec<u8>,
    ) -> Result<Reply, String> {
        self.call(Method::POST, path, Some((kind, body))).await
    }

    async fn call(
        &mut self,
        method: Method,
        path: &str,
        body: Option<(&'static str, Vec<u8>)>,
    ) -> Result<Reply, String> {
        let uri: Uri = path.parse().map_err(|why| format!("{path}: {why}"))?;
        let mut request = Request::new(HttpBody::default());
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert(HOST, self.host.clone());
        if let Some(key) = &self.key {
            headers.insert(AUTHORIZATION, key.clone());
        }
        if let Some((kind, body)) = body {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            let payload = Payload::Fixed(FixedPayload::new(Bytes::from(body)));
            *request.body_mut() = HttpBody::from(payload);
        }
        self.codec.send_and_flush(request).await.map_err(|why| format!("send: {why}"))?;
        let reply = self.codec.next().await.ok_or("closed by the server")?;
        let reply = reply.map_err(|why| format!("receive: {why}"))?;
        let status = reply.status().as_u16();
        let body = reply.into_body().with_io(&mut self.codec);
        let body = body.bytes().await.map_err(|why| format!("receive: {why}"))?;
        Ok(Reply { status, body })
    }
}
