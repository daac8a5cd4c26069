"""Pictures of what networks do."""
