# SPDX-License-Identifier: Apache-2.0
import os

import slack_sdk

print(slack_sdk.WebClient(token=os.environ["SLACK_BOT_TOKEN"]).auth_test()["user"])
