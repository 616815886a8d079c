"""`python -m local`: serve the API. `python -m local invoke FunctionName -e event.json`: run one event.

`python -m local token anna`: print a token that `AUTH=on` asks for. `python -m local psql`: open the database.
`python -m local sam invoke FunctionName`: run `sam local invoke`, with a database that its containers reach.
"""

import os
import signal
import sys

if __name__ == "__main__":
    # A request to stop during the imports is no error, and nothing has been started that would have to be stopped.
    # `sys.exit` would not do: an extension module that runs Python code may turn its exception into one of its own.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(0))

    from local.commands.command_line import main

    sys.exit(main(sys.argv[1:]))
