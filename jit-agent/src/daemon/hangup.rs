//! SIGHUP: the configuration is read again.

use jit_policy::Reload;
use sd_notify::NotifyState;
use tokio::signal::unix::Signal;

use crate::core::CoreHandle;

/// Reloads at each signal, for as long as there is a core.
pub(super) async fn reload_at(mut signals: Signal, core: CoreHandle) {
    while signals.recv().await.is_some() {
        let mut states = vec![NotifyState::Reloading];
        // The service manager tells by the time that this answers its own signal.
        states.extend(NotifyState::monotonic_usec_now());
        notify(&states);
        // Whoever sends the signal has changed the files, and means what they say of grants; to leave a port open by
        // mistake takes no more than a lost file, so that is refused.
        let asked = Reload { allow_open: Vec::new(), confirm: true, session: None };
        match core.reload(None, asked).await {
            Ok(done) => tracing::info!(
                changed = ?done.changed, ended = done.effects.ended.len(), shortened = done.effects.shortened.len(),
                durable = done.durable, "the configuration was read again"
            ),
            Err(refusal) => tracing::error!(%refusal, "the configuration stays as it was"),
        }
        notify(&[NotifyState::Ready]);
    }
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(false, states) {
        tracing::warn!(%error, "the service manager could not be told of the reload");
    }
}
