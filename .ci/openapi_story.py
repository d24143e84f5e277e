"""Plays the story of a purchase with the client that openapi-python-client generates: openapi_story.py BASE_URL"""

import sys
import time

from gifticon_client import Client
from gifticon_client.api.carts import add_cart, cancel_cart, get_cart
from gifticon_client.api.gifticons import change_gifticon, get_gifticon, register_gifticon
from gifticon_client.api.mypages import find_mypage_by_cart_id, get_mypage_history
from gifticon_client.api.payments import find_payment_by_cart_id
from gifticon_client.models import AddCart, ChangeGifticon, Gifticon, Mypage, Payment, RegisterGifticon

client = Client(base_url=sys.argv[1])


def answered(response, status):
    assert response.status_code == status, response
    return response.parsed


def shows(what, read):
    """Returns what `read` returns once that is true: payments and mypages follow by events."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        if found := read():
            print(f"{what}: {found.to_dict()}")
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what} did not come")


# A number as a string, and as a number.
body = RegisterGifticon(gifticon_id="1", name="Americano", available_quantity="100", price=5000)
gifticon = answered(register_gifticon.sync_detailed(client=client, body=body), 201)
refused = answered(register_gifticon.sync_detailed(client=client, body=body), 409)
print(f"refused: {refused.to_dict()}")

purchase = {"client": client, "body": AddCart(gifticon_id=1, quantity="10"), "idempotency_key": "story"}
added = add_cart.sync_detailed(**purchase)
cart = answered(added, 201)
assert added.headers["location"].endswith(f"/carts/{cart.id}")
assert answered(add_cart.sync_detailed(**purchase), 201).id == cart.id, "the key is one purchase"
short = answered(add_cart.sync_detailed(client=client, body=AddCart(gifticon_id=1, quantity=1000)), 409)
assert short.available_quantity == 90, short


def page(status):
    found = find_mypage_by_cart_id.sync(client=client, cart_id=cart.id)
    return found if isinstance(found, Mypage) and found.status == status else None


def payment(status):
    found = find_payment_by_cart_id.sync(client=client, cart_id=cart.id)
    return found if isinstance(found, Payment) and found.status == status else None


def stock(units):
    found = get_gifticon.sync(client=client, id=gifticon.id)
    return found if isinstance(found, Gifticon) and found.available_quantity == units else None


shows("payment", lambda: payment("PaymentApproved"))
shows("my page", lambda: page("PaymentApproved"))
shows("stock", lambda: stock(90))

answered(cancel_cart.sync_detailed(client=client, id=cart.id), 204)
answered(get_cart.sync_detailed(client=client, id=cart.id), 404)
shows("my page", lambda: page("PaymentCanceled"))
shows("stock", lambda: stock(100))
steps = answered(get_mypage_history.sync_detailed(client=client, id=page("PaymentCanceled").id), 200)
print("history:", [step.event_type for step in steps])

absolute = ChangeGifticon(available_quantity=7)
answered(change_gifticon.sync_detailed(client=client, id=gifticon.id, body=absolute), 428)
tag = get_gifticon.sync_detailed(client=client, id=gifticon.id).headers["etag"]
changed = change_gifticon.sync_detailed(client=client, id=gifticon.id, body=absolute, if_match=tag)
assert answered(changed, 200).available_quantity == 7
assert get_gifticon.sync_detailed(client=client, id=gifticon.id, if_none_match=changed.headers["etag"]).status_code == 304
print("the story was played")
