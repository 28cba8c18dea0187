//! The handling of SIGHUP: the configuration is read again.

use jit_policy::Reload;
use sd_notify::NotifyState;
use tokio::signal::unix::Signal;

use crate::core::CoreHandle;

/// Reloads the configuration at each signal, for as long as the core runs.
pub(super) async fn reload_at(mut signals: Signal, core: CoreHandle) {
    while signals.recv().await.is_some() {
        let mut states = vec![NotifyState::Reloading];
        // The service manager recognises by the time that this notification answers its signal.
        states.extend(NotifyState::monotonic_usec_now());
        notify(&states);
        // The sender of the signal has changed the files, and the change of grants is intended. A lost file is enough
        // to leave a port open by mistake, so a reload that would open a port is refused.
        let asked = Reload { confirm: true, ..Reload::default() };
        match core.reload(None, asked).await {
            Ok(done) => {
                tracing::info!(
                    changed = ?done.changed, ended = done.effects.ended.len(), shortened = done.effects.shortened.len(),
                    durable = done.durable, "the configuration was read again"
                );
                core.look_up_names().await;
            }
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
