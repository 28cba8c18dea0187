//! The listener for metrics. Any local user may take the address while the agent doesn't have it, so the agent tries
//! again until it has it.

use std::{net::SocketAddr, time::Duration};

use tokio::{net::TcpListener, sync::oneshot, time::sleep};

use crate::{core::CoreHandle, http};

/// The pause between two attempts to get the address.
const RETRY: Duration = Duration::from_secs(5);

/// Serves metrics at this address until `stopped` ends. While somebody else has the address, the status has a fault.
pub(super) async fn serve(address: SocketAddr, core: CoreHandle, stopped: oneshot::Receiver<()>) {
    let serve = async {
        let listener = bind(address, &core).await;
        if let Err(error) = http::serve_metrics(listener, core.clone(), std::future::pending()).await {
            tracing::error!(%error, "metrics are not served any more");
            core.note_metrics_fault(Some(format!("metrics_listen = \"{address}\": {error}"))).await;
        }
    };
    tokio::select! {
        _ = stopped => {}
        () = serve => {}
    }
}

async fn bind(address: SocketAddr, core: &CoreHandle) -> TcpListener {
    let mut failed = false;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                if failed {
                    tracing::info!(%address, "metrics are served now");
                    core.note_metrics_fault(None).await;
                }
                return listener;
            }
            Err(error) if failed => tracing::debug!(%error, "metrics_listen"),
            Err(error) => {
                let fault = format!("metrics_listen = \"{address}\": {error}; tried again every few seconds");
                tracing::error!(fault, "metrics are not served");
                core.note_metrics_fault(Some(fault)).await;
                failed = true;
            }
        }
        sleep(RETRY).await;
    }
}
