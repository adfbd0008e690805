//! A way to a scheduler on which what is said is changed, as if someone else had said it.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use ballista_core::version::BALLISTA_VERSION_HEADER;
use datafusion::common::runtime::SpawnedTask;
use http_body_util::BodyExt;
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, HeaderValue, Request, Response};
use tonic::codegen::{Body as HttpBody, Bytes, Service, StdError};
use tonic::service::Routes;
use tonic::transport::{Channel, Endpoint, Server};

use crate::process::free_ports;

/// What every node of ours begins with, before its format.
const NODE: &[u8] = b"\0asof";

#[derive(Debug, Clone, Copy)]
pub(crate) enum Change {
    /// The version of Ballista that the client says it has.
    Client(&'static str),
    /// The version of Ballista that the scheduler says it has.
    Scheduler(&'static str),
    /// The format of our nodes in plans.
    Format(u8),
}

impl Change {
    fn headers(self, headers: &mut HeaderMap, of_client: bool) {
        if let (Self::Client(version), true) | (Self::Scheduler(version), false) = (self, of_client)
            && let Some(header) = headers.get_mut(BALLISTA_VERSION_HEADER)
        {
            *header = HeaderValue::from_static(version);
        }
    }

    fn bytes(self, bytes: &Bytes) -> Bytes {
        let mut bytes = bytes.to_vec();
        if let Self::Format(format) = self {
            for node in 0..bytes.len().saturating_sub(NODE.len()) {
                if bytes[node..].starts_with(NODE) {
                    bytes[node + NODE.len()] = format;
                }
            }
        }
        bytes.into()
    }

    fn body(
        self,
        body: impl HttpBody<Data = Bytes, Error: Into<StdError>> + Send + 'static,
    ) -> Body {
        Body::new(body.map_frame(move |frame| frame.map_data(|data| self.bytes(&data))))
    }
}

#[derive(Debug, Clone)]
struct Through {
    scheduler: Channel,
    change: Change,
}

impl<B> Service<Request<B>> for Through
where
    B: HttpBody<Data = Bytes, Error: Into<StdError>> + Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Self {
            mut scheduler,
            change,
        } = self.clone();
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            change.headers(&mut parts.headers, true);
            let request = Request::from_parts(parts, change.body(body));
            std::future::poll_fn(|context| scheduler.poll_ready(context))
                .await
                .expect("a scheduler");
            let response = scheduler.call(request).await.expect("an answer");
            let (mut parts, body) = response.into_parts();
            change.headers(&mut parts.headers, false);
            Ok(Response::from_parts(parts, change.body(body)))
        })
    }
}

/// The port at which a scheduler is reached with this change, as long as the task lives.
pub(crate) fn through(scheduler: u16, change: Change) -> (u16, SpawnedTask<()>) {
    let [port] = free_ports();
    let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{scheduler}"));
    let scheduler = endpoint.expect("an address").connect_lazy();
    let mut routes = Routes::default();
    let router = std::mem::take(routes.axum_router_mut());
    *routes.axum_router_mut() = router.fallback_service(Through { scheduler, change });
    let server = Server::builder().add_routes(routes);
    let address = ([127, 0, 0, 1], port).into();
    let task = SpawnedTask::spawn(async move {
        server.serve(address).await.expect("a server");
    });
    (port, task)
}
