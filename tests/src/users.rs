//! The users of a sandbox, the same on every machine.

use std::{fs, path::Path};

use anyhow::{Context, Result};

use crate::Sandbox;

/// Replaces this machine's users for `sandbox`: a test must not depend on this machine's users, such as a locked root
/// or a user who happens to be in a group.
pub(crate) fn replace(sandbox: &Sandbox) -> Result<()> {
    let home = sandbox.path("home");
    fs::create_dir_all(&home).context("cannot make the users' home directory")?;
    let home = home.display();
    let files = [
        (
            "passwd",
            format!(
                "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000:Alice:{home}:/bin/sh\n\
                 bob:x:1001:1001:Bob:{home}:/bin/sh\ncarol:x:1002:1002:Carol:{home}:/bin/sh\n\
                 dave:x:1003:1003:Dave:{home}:/bin/sh\npusher:x:1004:1004:Pusher:{home}:/bin/sh\nsshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n"
            ),
        ),
        (
            "group",
            "root:x:0:\nalice:x:1000:\nbob:x:1001:\ncarol:x:1002:\ndave:x:1003:\npusher:x:1004:\n\
             jit-users:x:2000:alice\njit-approvers:x:2001:bob,carol\njit-viewers:x:2002:dave\nnogroup:x:65534:\n"
                .to_owned(),
        ),
        (
            "shadow",
            "root:*:19000::::::\nalice:*:19000::::::\nbob:*:19000::::::\ncarol:*:19000::::::\ndave:*:19000::::::\n\
             pusher:*:19000::::::\nsshd:*:19000::::::\n"
                .to_owned(),
        ),
    ];
    for (name, contents) in files {
        let file = sandbox.write(name, contents)?;
        sandbox.overlay_file(&file, &Path::new("/etc").join(name))?;
    }
    Ok(())
}
