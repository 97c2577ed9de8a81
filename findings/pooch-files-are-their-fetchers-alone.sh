#!/usr/bin/env bash
# pooch 1.9.0: what it fetches can be read by the one who fetched it and by nobody else, whatever the umask says.
#
# Seen: with the umask 022 the file has the mode 600, where the folder that pooch made for it has 755 and a file that
# anyone writes there has 644. Why: the download is a tempfile.NamedTemporaryFile, 600 always, that is moved to its
# name. So a cache that a group or a machine shares serves its first user; for the others each file is there, and cannot
# be opened.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check pooch==1.9.0
cat > "$folder/fetch.py" <<'PYTHON'
import functools
import http.server
import pathlib
import sys
import threading

import pooch


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


there, cache = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
there.mkdir()
(there / "rows.csv").write_text("1,2,3\n")
handler = functools.partial(Quiet, directory=there)
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
load = pooch.HTTPDownloader(proxies={"http": ""})
hash = pooch.file_hash(there / "rows.csv")
pooch.retrieve(f"http://127.0.0.1:{server.server_port}/rows.csv", hash, "rows.csv", cache, downloader=load)
(cache / "own.csv").write_text("1,2,3\n")
for path in (cache, cache / "own.csv", cache / "rows.csv"):
    print(oct(path.stat().st_mode & 0o777))
PYTHON
seen=$(umask 022; "$folder/venv/bin/python" "$folder/fetch.py" "$folder/there" "$folder/cache" 2>/dev/null)
echo "$seen"
[ "$seen" = "0o755
0o644
0o600" ]
