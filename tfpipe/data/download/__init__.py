"""Photos from the net: thousands of hosts or one, politely, each URL asked once.

`addresses` says which URLs may be asked, `hosts` when, `client` asks, `content` judges the bytes, `journal`
remembers, `crawl` leads, and `pieces` share the hosts out where more than one machine asks.
"""
