"""Discord, by a channel's webhook or as a bot.

    message      what a message says, in Discord's dialect
    api          how it is asked, and what its answers mean
    channel      what both have in common
    webhook      the one with the least rights
    bot          for what a webhook can not do
    history      what was said in a channel
    scheduled    an event of the server that is on while the stream is
    permissions  what a bot may do in a channel

Source: discord/discord-api-docs developers/reference.mdx, developers/resources (webhook, message,
channel, guild, guild-scheduled-event).mdx, developers/topics (opcodes-and-status-codes,
permissions, rate-limits).mdx.
"""

from announcer.networks.discord.webhook import Discord as Discord  # isort: split

# The simpler way in comes first, in docs and questions as here.
from announcer.networks.discord.bot import DiscordBot as DiscordBot
