//! The service manager's watchdog. The service manager restarts an agent whose core no longer answers. The ports stay
//! closed meanwhile.

use std::time::Duration;

use sd_notify::NotifyState;

use crate::core::CoreHandle;

/// The interval for notifying the service manager; `None`: the watchdog is off. The interval is half of the watchdog's
/// timeout, as sd_watchdog_enabled(3) recommends.
pub(super) fn interval() -> Option<Duration> {
    let mut microseconds = 0;
    sd_notify::watchdog_enabled(false, &mut microseconds).then(|| Duration::from_micros(microseconds) / 2)
}

/// Notifies the service manager by `alive` that the agent works. Each notification follows an answer of the core. So
/// the service manager notices if the core hangs, and also if this task hangs.
pub(super) async fn feed(core: CoreHandle, interval: Duration, mut alive: impl FnMut()) {
    while core.ping().await.is_ok() {
        alive();
        tokio::time::sleep(interval).await;
    }
}

/// Notifies the service manager that the agent works.
pub(super) fn alive() {
    if let Err(error) = sd_notify::notify(false, &[NotifyState::Watchdog]) {
        tracing::warn!(%error, "the service manager could not be told that the agent works");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    use super::*;
    use crate::core::Command;

    const INTERVAL: Duration = Duration::from_secs(15);

    #[tokio::test(start_paused = true)]
    async fn the_service_manager_hears_of_the_agent_only_while_the_core_answers() {
        let (core, mut commands) = CoreHandle::new(crate::core::SharedAccess::default());
        let told = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&told);
        let alive = move || {
            count.fetch_add(1, Ordering::Relaxed);
        };
        let feeding = tokio::spawn(feed(core, INTERVAL, alive));
        for _ in 0..3 {
            let Some(Command::Ping(reply)) = commands.recv().await else { panic!("something else was asked") };
            reply.send(Ok(())).unwrap();
        }
        let Some(Command::Ping(unanswered)) = commands.recv().await else { panic!("something else was asked") };
        tokio::time::sleep(INTERVAL * 100).await;
        assert_eq!(told.load(Ordering::Relaxed), 3);
        assert!(commands.is_empty(), "a core that hangs is asked again and again");
        drop(unanswered);
        feeding.await.unwrap();
        assert_eq!(told.load(Ordering::Relaxed), 3);
    }
}
