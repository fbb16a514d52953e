"""What every service's process needs: settings, logs, stopping, clocks and back-off."""
