//! What others say of who the primary is (`primary_check`).
//!
//! Owns the task that asks for one node: every `probe_interval`, and at once when something has changed in its
//! cluster. An answer that is not in time says nothing. Never decides: that is `cluster::roles`.

use super::news::take_in;
use super::tell;
use super::watched::Watched;
use crate::app::current::Current;
use crate::app::pooler::Pooler;
use crate::cluster::NodeId;
use crate::cluster::shared::now;
use crate::config::{NodeAddress, NodeHost};
use crate::net::HttpUrl;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Least pause between two questions.
const PAUSE: Duration = Duration::from_millis(20);

/// Asks for one node, again and again, as long as the configuration says so.
pub(super) async fn ask_whether_primary(pooler: Rc<Pooler>, watched: Rc<Watched>, node: NodeId) {
    let (Some(options), Some(desk)) = (watched.node(node), watched.desk(node)) else { return };
    let mut said = None;
    loop {
        let current = pooler.current();
        let (verdict, error) = match url(&current, &options.address) {
            None => (None, None),
            Some(url) => match ask(&current, &url).await {
                Ok(is_primary) => (Some(is_primary), None),
                Err(why) => (None, Some(format!("primary_check {url} says nothing: {why}"))),
            },
        };
        if said != error {
            if let Some(error) = &error {
                tell::say(&pooler, &watched, "warn", error);
            }
            said = error;
        }
        let news = watched.survey.borrow_mut().judged(node, verdict, now());
        take_in(&pooler, &watched, &news);
        if !news.is_empty() {
            watched.publish(&pooler.current().config);
        }
        sleep(PAUSE).await;
        tokio::select! {
            () = desk.check.notified() => {}
            () = sleep(current.config.routing.probe_interval) => {}
        }
    }
}

/// Where to ask for the node at this address.
fn url(current: &Current, address: &NodeAddress) -> Option<HttpUrl> {
    let host = match &address.host {
        NodeHost::Ip(IpAddr::V6(ip)) => format!("[{ip}]"),
        NodeHost::SocketDir(_) => "127.0.0.1".to_owned(),
        host @ (NodeHost::Ip(IpAddr::V4(_)) | NodeHost::Name(_)) => host.to_string(),
    };
    let template = current.config.routing.primary_check.as_ref()?;
    let url = template.replace("{host}", &host).replace("{port}", &address.port.to_string());
    HttpUrl::parse(&url).ok()
}

async fn ask(current: &Current, url: &HttpUrl) -> Result<bool, String> {
    let limit = current.config.routing.probe_timeout;
    match timeout(limit, url.get(&current.context.resolver)).await {
        Ok(Ok((status, _))) => Ok(status == 200),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} ms (probe_timeout)", limit.as_millis())),
    }
}
