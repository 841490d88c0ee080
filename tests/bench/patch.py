"""Merge-patches objects on a clock: patch.py URL RATE SECONDS OBJECTS. Four connections, so that a slow answer does not stop the clock."""

import http.client
import os
import ssl
import sys
import threading
import time
from urllib.parse import urlsplit

url, rate, seconds, objects = urlsplit(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
# The certificate is checked by kubectl in the same run; here only the answers matter.
context = ssl._create_unverified_context()
headers = {"Authorization": "Bearer " + os.environ["TOKEN"], "Content-Type": "application/merge-patch+json"}
CONNECTIONS = 4
failed = []


def patch(first: int) -> None:
    connection = http.client.HTTPSConnection(url.hostname, url.port, context=context)
    start = time.monotonic()
    for number in range(first, rate * seconds, CONNECTIONS):
        time.sleep(max(0.0, start + number / rate - time.monotonic()))
        path = f"/apis/test.threeport.dev/v1/namespaces/default/notes/note-{1 + number % objects}"
        connection.request("PATCH", path, f'{{"spec":{{"text":"{number}"}}}}', headers)
        response = connection.getresponse()
        response.read()
        if response.status != 200:
            failed.append(response.status)


threads = [threading.Thread(target=patch, args=(first,)) for first in range(CONNECTIONS)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
if failed:
    sys.exit(f"{len(failed)} patches failed, the first with {failed[0]}")
