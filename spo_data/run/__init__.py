"""A run: its folder with manifest and journal, the tables written from the journal, and its summary.

It never imports models, the Hub, cards, reports or formats; of engines it imports only the protocol.
"""
