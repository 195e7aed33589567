# SPDX-License-Identifier: GPL-2.0-only
"""What a process has from the one that has started it, and a test must not depend on."""

import signal


def default_signals():
    """Ignore no signal: nohup ignores SIGHUP, a shell SIGINT and SIGQUIT of what ends with "&".

    Who is ignored stays so in qed-fsck, and then does nothing.
    """
    for number in signal.valid_signals():
        if signal.getsignal(number) == signal.SIG_IGN and number not in (
                signal.SIGPIPE, signal.SIGXFSZ):        # Python itself ignores these
            signal.signal(number, signal.SIG_DFL)
