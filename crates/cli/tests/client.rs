//! The client against a server that misbehaves in every way a socket allows.

use std::path::PathBuf;
use std::time::Duration;

use api::{ErrorCode, ProcessEvent, StatusReply, route};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::routing::{get, post};
use cli::Client;
use futures_util::stream;
use http_body_util::BodyExt;
use tokio::net::UnixListener;

/// A server on a socket of its own, until the end of the test.
struct Fake {
    _dir: tempfile::TempDir,
    socket: PathBuf,
}

fn serve(router: Router) -> Fake {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("control.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    Fake { _dir: dir, socket }
}

/// A body that comes in these pieces, and breaks off after them if `broken`.
fn pieces(pieces: &[&'static str], broken: bool) -> Body {
    let end = broken.then(|| Err(std::io::Error::other("broken")));
    let pieces: Vec<_> = pieces.iter().map(|piece| Ok(Bytes::from(*piece))).chain(end).collect();
    Body::from_stream(stream::unfold(pieces.into_iter(), async |mut pieces| {
        // Pieces arrive one by one, as they would from a process.
        tokio::task::yield_now().await;
        pieces.next().map(|piece| (piece, pieces))
    }))
}

async fn logs(router: Router) -> (Vec<ProcessEvent>, Option<api::Error>) {
    let fake = serve(router);
    let client = Client::new(&fake.socket);
    let path = route::LOGS.fill(&["k3x9.0"]);
    let mut events = match client.events(route::LOGS, &path, &()).await {
        Ok(events) => events,
        Err(error) => return (Vec::new(), Some(error)),
    };
    let mut seen = Vec::new();
    loop {
        match events.next().await {
            Ok(Some(event)) => seen.push(event),
            Ok(None) => return (seen, None),
            Err(error) => return (seen, Some(error)),
        }
    }
}

#[tokio::test]
async fn events_are_lines_however_they_arrive() {
    let body = || async {
        pieces(
            &[
                "{\"event\":\"dropped\",\"unt",
                "il\":1}\n\n{\"event\":\"dropped\",\"until\":2}\n{\"event\":\"dropped\",",
                "\"until\":3}",
                "\n",
            ],
            false,
        )
    };
    let (seen, error) = logs(Router::new().route(route::LOGS.path, get(body))).await;
    let expected: Vec<_> = (1..=3).map(|until| ProcessEvent::Dropped { until }).collect();
    assert_eq!((seen, error), (expected, None));
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_an_error_after_its_events() {
    let body = || async { pieces(&["{\"event\":\"dropped\",\"until\":1}\n"], true) };
    let (seen, error) = logs(Router::new().route(route::LOGS.path, get(body))).await;
    assert_eq!(seen.len(), 1);
    assert_eq!(error.unwrap().code, ErrorCode::NodeUnavailable);
}

#[tokio::test]
async fn what_is_no_event_is_an_error() {
    let body = || async { pieces(&["{\"event\":\"sings\"}\n"], false) };
    let (seen, error) = logs(Router::new().route(route::LOGS.path, get(body))).await;
    assert!(seen.is_empty());
    assert_eq!(error.unwrap().code, ErrorCode::Versions);
}

#[tokio::test]
async fn an_error_keeps_its_code_and_words() {
    let refuse = || async {
        let error = api::Error::new(ErrorCode::UnknownProcess, "no process is called `k3x9.0`");
        let status = StatusCode::from_u16(error.code.status()).unwrap();
        (status, serde_json::to_string(&error).unwrap())
    };
    let (_, error) = logs(Router::new().route(route::LOGS.path, get(refuse))).await;
    let error = error.unwrap();
    assert_eq!(error.code, ErrorCode::UnknownProcess);
    assert_eq!(error.message, "no process is called `k3x9.0`");
}

#[tokio::test]
async fn a_route_that_is_not_served_is_told_apart() {
    let (_, error) = logs(Router::new()).await;
    assert_eq!(error.unwrap().code, ErrorCode::Internal);
}

#[tokio::test]
async fn no_daemon_is_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let client = Client::new(&dir.path().join("control.sock"));
    let reply = client.reply::<StatusReply>(route::STATUS, route::STATUS.path, &()).await;
    assert_eq!(reply.unwrap_err().code, ErrorCode::NoDaemon);
}

#[tokio::test]
async fn bytes_go_both_ways_unharmed() {
    let echo = |body: Body| async { body };
    let fake = serve(Router::new().route(route::FREEZE.path, post(echo)).route(
        route::UPLOAD.path,
        post(|body: Bytes| async move {
            assert_eq!(body.len(), 3 * 40_000);
            "{\"event\":\"dropped\",\"until\":120000}\n"
        }),
    ));
    let client = Client::new(&fake.socket);
    let path = route::FREEZE.fill(&["k3x9.0"]);
    let request = api::FreezeRequest { copy: true };
    let body = client.download(route::FREEZE, &path, &request).await.unwrap();
    assert_eq!(body.collect().await.unwrap().to_bytes(), &b"{\"copy\":true}"[..]);

    let chunk = || Ok(Bytes::from(vec![0xa5; 40_000]));
    let bytes = stream::iter([chunk(), chunk(), chunk()]);
    let mut events =
        client.upload::<ProcessEvent, _>(route::UPLOAD, route::UPLOAD.path, bytes).await.unwrap();
    assert_eq!(events.next().await.unwrap(), Some(ProcessEvent::Dropped { until: 120_000 }));
}

#[tokio::test]
async fn dropping_a_stream_ends_it_at_the_node() {
    let (body_lives, mut body_ended) = tokio::sync::mpsc::channel::<()>(1);
    // Only the body holds a sender once the handler has run.
    let lives = std::sync::Mutex::new(Some(body_lives));
    let endless = move || {
        let lives = lives.lock().unwrap().take();
        let line = async |lives| {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let line = Bytes::from("{\"event\":\"dropped\",\"until\":1}\n");
            Some((Ok::<_, std::io::Error>(line), lives))
        };
        std::future::ready(Body::from_stream(stream::unfold(lives, line)))
    };
    let endless = std::sync::Arc::new(endless);
    let fake = serve(Router::new().route(route::LOGS.path, get(move || endless())));
    let client = Client::new(&fake.socket);
    let path = route::LOGS.fill(&["k3x9.0"]);
    let mut events = client.events::<ProcessEvent>(route::LOGS, &path, &()).await.unwrap();
    assert!(events.next().await.unwrap().is_some());
    drop(events);
    let ended = tokio::time::timeout(Duration::from_secs(10), body_ended.recv()).await;
    assert_eq!(ended, Ok(None), "the node goes on sending");
}
