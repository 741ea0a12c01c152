# SPDX-License-Identifier: Apache-2.0
import asyncio
import os

import telegram


async def main():
    async with telegram.Bot(os.environ["TELEGRAM_BOT_TOKEN"]) as bot:
        print((await bot.get_me()).first_name)


asyncio.run(main())
