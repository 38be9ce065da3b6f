"""The Hugging Face Hub: reaching its datasets, committing to them, and its errors as messages of one line.

It never imports another folder of spo_data: it moves files and does not know what they hold, except that it can ask
`datasets` which of them it would load.
"""
