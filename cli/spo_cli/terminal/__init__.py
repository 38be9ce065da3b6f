"""What a user types and sees: options, printed results, progress, errors and exit statuses.

Never imports the commands.
"""
