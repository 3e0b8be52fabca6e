"""Discord, by a channel's webhook.

    message  what a message says, in Discord's dialect
    api      how it is asked, and what its answers mean
    channel  how a post becomes a message in one channel, and is changed
    webhook  that channel, by its webhook

Source: discord/discord-api-docs developers/reference.mdx, developers/resources (webhook, message,
channel, guild, guild-scheduled-event).mdx, developers/topics (opcodes-and-status-codes,
permissions, rate-limits).mdx.
"""

from announcer.networks.discord.webhook import Discord as Discord
