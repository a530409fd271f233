"""Make a bucket in the S3-compatible server of AWS_ENDPOINT, unless it is there.

    python /opt/palimp/tools/make_bucket.py BUCKET

Of the trial deployments, which bring a server of their own; a bucket in a cloud is made by whoever
owns the account.
"""

import sys
from datetime import timedelta

import httpx
import obstore
from obstore.store import S3Store

[bucket] = sys.argv[1:]
# `PUT /BUCKET`, signed with the credentials of the environment.
answer = httpx.put(obstore.sign(S3Store(bucket), "PUT", "", timedelta(minutes=1)), timeout=10)
if answer.status_code not in (200, 409):
    sys.exit(f"bucket {bucket} was not made: {answer.status_code} {answer.text[:500]}")
sys.stdout.write(f"bucket {bucket} is there\n")
