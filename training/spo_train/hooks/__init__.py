"""What runs inside verl's processes: trainer, agent loop, reward. Never imports config, plan or launch."""
