"""`python -m local`: serve the API. `python -m local invoke FunctionName -e event.json`: run one event.

`python -m local token anna`: print a token that `AUTH=on` asks for. `python -m local sam invoke FunctionName`: run
`sam local invoke`, with a database that its containers reach.
"""

import signal
import sys

if __name__ == "__main__":
    # Until the event loop watches for signals nothing has been started, and a request to stop is no error.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(0))

    from local.commands import main

    sys.exit(main(sys.argv[1:]))
