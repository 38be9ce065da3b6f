"""From the options to a checked plan and a written folder, before Ray starts. Never imports hooks or launch."""
