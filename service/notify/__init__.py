"""Tells people what needs them: Slack-compatible webhooks, webhooks of one's own, e-mail. No run waits for it."""
