"""The admin in a real browser: Chromium, driven by Playwright."""
