"""The dashboard on the app's index, and the figures that a webhook's page shows, too."""
