"""The state of a session: what is sent when, what is sent again, what is delivered once."""

import os
import random

import pytest

from ioto.mqtt import packet
from ioto.mqtt.packet import PUBACK, PUBCOMP, PUBREC, PUBREL, Decoder, prefixed
from ioto.mqtt.session import Message, Outgoing, Session

SEED = int(os.environ.get('SEED', random.randrange(1 << 32)))


def add(session, text, qos=1):
    """Put a message into the line as the client does."""
    identifier = session.identifier() if qos else 0
    message = Outgoing(packet.publish(prefixed('t'), text.encode(), 0x30 | qos << 1, identifier), qos, identifier)
    session.add(message, False, 't', text.encode())
    return message


def sent(messages):
    """What packets say: (head, identifier, payload) of PUBLISH, (head, identifier) of others."""
    data = b''.join(each if isinstance(each, bytes) else each.packet for each in messages)
    return [(each[0], each[1], each[3].decode()) if len(each) > 2 else each for each in Decoder(True).feed(data)]


def output(session):
    """What the session has to say, taken."""
    data = bytes(session.output)
    session.output.clear()
    return sent([data])


def receive(session, qos, identifier, text='x', dup=False):
    message = Message(0x30 | qos << 1 | dup << 3, identifier, 't', text.encode())
    return message, session.arrived(message)


class Journal:
    """A store in memory that notes what it is told, and has always just committed."""

    messages = ()

    def __init__(self, entries=(), received=()):
        self.entries, self.received, self.log = list(entries), set(received), []

    def __getattr__(self, name):
        return lambda *args: self.log.append((name, *args))

    def taken(self):
        log, self.log = self.log, []
        return log


# Out

def test_messages_leave_in_order_within_the_window():
    session = Session(inflight=3)
    for n in range(5):
        add(session, str(n), 1 + n % 2)
    assert sent(session.leaving()) == [(0x32, 1, '0'), (0x34, 2, '1'), (0x32, 3, '2')]
    assert session.leaving() == []
    session.acknowledged(PUBACK, 3)
    assert sent(session.leaving()) == [(0x34, 4, '3')]
    session.acknowledged(PUBREC, 2)                                     # a place in the window until PUBCOMP
    assert session.leaving() == []
    session.acknowledged(PUBCOMP, 2)
    assert sent(session.leaving()) == [(0x32, 5, '4')]


def test_qos_0_in_line_keeps_its_place_and_needs_none_in_the_window():
    session = Session(inflight=1)
    for text, qos in (('a', 0), ('b', 1), ('c', 0), ('d', 1), ('e', 0)):
        add(session, text, qos)
    assert sent(session.leaving()) == [(0x30, 0, 'a'), (0x32, 1, 'b'), (0x30, 0, 'c')]
    session.acknowledged(PUBACK, 1)
    assert sent(session.leaving()) == [(0x32, 2, 'd'), (0x30, 0, 'e')]
    assert session.zeros == 0


def test_identifiers_are_never_0_and_unique_among_all_that_are_taken():
    session = Session()
    taken = {session.identifier() for _ in range(65535)} - {1000}
    assert len(taken) == 65534 and 0 not in taken
    session.used.discard(1000)
    assert session.identifier() == 1000


@pytest.mark.parametrize('qos, answers, done', [
    (1, [PUBACK], True), (1, [PUBREC], False), (1, [PUBCOMP], False),
    (2, [PUBREC, PUBCOMP], True), (2, [PUBREC], False), (2, [PUBREC, PUBREC], False), (2, [PUBREC, PUBREC, PUBCOMP], True),
    (2, [PUBACK], False), (2, [PUBCOMP], False), (2, [PUBREC, PUBACK], False), (2, [PUBACK, PUBREC, PUBCOMP], True)])
def test_what_completes_a_message(qos, answers, done):
    session = Session()
    message = add(session, 'x', qos)
    session.leaving()
    assert [session.acknowledged(head, 1) for head in answers][-1] is (message if done else None)
    assert len(session) == (not done) and (1 in session.used) == (not done) and bool(session.size) == (not done)
    assert output(session) == [(PUBREL, 1)] * answers.count(PUBREC) * (qos == 2)


def test_acknowledgements_that_fit_nothing_change_nothing_and_are_counted():
    session = Session()
    add(session, 'x')
    for head in (PUBACK, PUBCOMP, PUBREC):
        assert session.acknowledged(head, 1) is None                    # in line, and not sent yet
        assert session.acknowledged(head, 77) is None
    assert session.unexpected == 6
    assert set(output(session)) == {(PUBREL, 1), (PUBREL, 77)}          # so that the broker can forget it
    assert sent(session.leaving()) == [(0x32, 1, 'x')]


def test_after_a_loss_publish_has_dup_and_the_old_order_and_the_window_holds():
    session = Session(inflight=2)
    for n in range(4):
        add(session, str(n), 1 + n % 2)
    session.leaving()
    for present in (True, False):
        assert sent(session.resume(present)) == [(0x3a, 1, '0'), (0x3c, 2, '1')]
        assert session.leaving() == []
    session.acknowledged(PUBACK, 1)
    assert sent(session.leaving()) == [(0x32, 3, '2')]                  # sent for the first time: no DUP
    assert sent(session.resume(True)) == [(0x3c, 2, '1'), (0x3a, 3, '2')]


@pytest.mark.parametrize('present', [True, False])
def test_after_pubrec_and_a_loss_pubrel_is_sent_again_and_never_publish(present):
    session = Session()
    add(session, 'a', 2)
    message = add(session, 'b', 2)
    add(session, 'c', 2)
    session.leaving()
    session.acknowledged(PUBREC, 2)
    output(session)
    assert sent(session.resume(present)) == [(0x3c, 1, 'a'), (PUBREL, 2), (0x3c, 3, 'c')]
    assert sent(session.resume(present)) == [(0x3c, 1, 'a'), (PUBREL, 2), (0x3c, 3, 'c')]
    assert session.acknowledged(PUBCOMP, 2) is message


def test_what_was_not_said_on_the_old_connection_is_not_said_on_the_next():
    session = Session()
    message, _ = receive(session, 1, 5)
    session.settle(message)
    session.resume(True)
    assert output(session) == []


def test_the_oldest_qos_0_goes_first():
    session = Session(inflight=1)
    for text, qos in (('a', 1), ('b', 0), ('c', 1), ('d', 0)):
        add(session, text, qos)
    assert [session.drop().packet[-1:], session.drop().packet[-1:], session.drop()] == [b'b', b'd', None]
    assert sent(session.leaving()) == [(0x32, 1, 'a')] and len(session) == 2


# In

def test_qos_1_is_acknowledged_when_it_was_handled():
    session = Session()
    message, handle = receive(session, 1, 9)
    assert handle and output(session) == []
    session.settle(message)
    assert output(session) == [(PUBACK, 9)]


def test_qos_1_that_comes_again_is_delivered_again():
    session = Session()
    for _ in range(2):
        message, handle = receive(session, 1, 9, dup=True)
        assert handle
        session.settle(message)
    assert output(session) == [(PUBACK, 9)] * 2


def test_qos_2_that_the_broker_repeats_is_delivered_once():
    session = Session()
    message, handle = receive(session, 2, 9)
    assert handle
    session.settle(message)
    for connection in range(2):
        assert output(session) == [(PUBREC, 9)]
        assert receive(session, 2, 9, dup=True)[1] is False
        assert output(session) == [(PUBREC, 9)]
        session.resume(True)
        assert receive(session, 2, 9)[1] is False                       # DUP or not
    output(session)
    session.released(9)
    assert output(session) == [(PUBCOMP, 9)]
    assert receive(session, 2, 9)[1] is True                            # another message


def test_pubrel_of_what_nobody_knows_is_answered():
    session = Session()
    session.released(3)
    assert output(session) == [(PUBCOMP, 3)]


def test_qos_2_that_comes_again_while_it_is_being_handled_is_delivered_once():
    session = Session()
    message, _ = receive(session, 2, 9)
    assert receive(session, 2, 9, dup=True)[1] is False                 # on the same connection
    session.resume(True)
    assert receive(session, 2, 9, dup=True)[1] is False                 # and on the next
    assert output(session) == []
    session.settle(message)
    assert output(session) == [(PUBREC, 9)]


def test_a_session_that_is_gone_takes_its_identifiers_along():
    session = Session()
    handled, _ = receive(session, 2, 1)
    handling, _ = receive(session, 2, 2)
    session.settle(handled)
    session.resume(False)
    assert receive(session, 2, 1)[1] and receive(session, 2, 2)[1]      # other messages
    session.settle(handling)                                            # of the old session
    assert output(session) == [] and session.received == set()


def test_acknowledgements_leave_in_the_order_of_the_messages():
    session = Session()
    messages = [receive(session, qos, n)[0] for n, qos in enumerate((1, 2, 1, 2), 1)]
    for n in (3, 1):
        session.settle(messages[n])
    assert output(session) == []
    session.settle(messages[0])
    assert output(session) == [(PUBACK, 1), (PUBREC, 2)]
    session.settle(messages[2])
    assert output(session) == [(PUBACK, 3), (PUBREC, 4)]


def test_a_message_that_was_not_handled_stays_unacknowledged_and_later_ones_go_on():
    session = Session()
    messages = [receive(session, qos, n)[0] for n, qos in enumerate((1, 2, 1), 1)]
    session.settle(messages[0], False)
    session.settle(messages[1], False)
    session.settle(messages[2])
    assert output(session) == [(PUBACK, 3)]
    session.resume(True)
    assert receive(session, 2, 2, dup=True)[1] is True


def test_qos_1_that_was_handled_after_its_connection_is_not_acknowledged_on_the_next():
    session = Session()
    message, _ = receive(session, 1, 5)
    session.resume(True)
    session.settle(message)
    assert output(session) == []


# With a store

def test_the_store_hears_of_each_step_of_an_outgoing_message():
    store = Journal()
    session = Session(store=store)
    add(session, 'a', 1)
    add(session, 'b', 2)
    add(session, 'c', 0)
    assert store.taken() == [('put', 1, 1, 1, False, 't', b'a'), ('put', 2, 2, 2, False, 't', b'b'), ('put', 3, 0, 0, False, 't', b'c')]
    session.stored(session.change)
    session.leaving()
    assert store.taken() == [('forget', 3)]
    session.acknowledged(PUBACK, 1)
    session.acknowledged(PUBREC, 2)
    assert store.taken() == [('forget', 1), ('release', 2)]
    session.acknowledged(PUBCOMP, 2)
    assert store.taken() == [('forget', 2)]


def test_qos_2_and_pubrel_leave_when_they_are_on_the_disk():
    session = Session(store=Journal())
    add(session, 'a', 1)
    add(session, 'b', 2)
    add(session, 'c', 1)
    assert sent(session.leaving()) == [(0x32, 1, 'a')] and session.unsafe()
    session.stored(1)
    assert session.leaving() == []
    session.stored(2)
    assert sent(session.leaving()) == [(0x34, 2, 'b'), (0x32, 3, 'c')]
    session.acknowledged(PUBREC, 2)
    session.acknowledged(PUBREC, 2)
    assert output(session) == [] and session.unsafe()
    assert [each[:2] for each in sent(session.resume(True))] == [(0x3a, 1), (0x3a, 3)]      # neither PUBLISH nor PUBREL
    session.stored(session.change)
    assert output(session) == [(PUBREL, 2)] and not session.unsafe()
    assert (PUBREL, 2) in sent(session.resume(True))


def test_a_received_qos_2_identifier_is_stored_before_it_is_acknowledged():
    store = Journal()
    session = Session(store=store)
    message, _ = receive(session, 2, 9)
    assert store.taken() == []
    session.settle(message)
    assert store.taken() == [('receive', 9), ('commit',)]
    assert output(session) == [(PUBREC, 9)]
    session.released(9)
    assert store.taken() == [('complete', 9)]


def test_pubcomp_leaves_when_it_is_on_the_disk_that_the_identifier_is_free():
    """Else a power cut could bring it back, and a message that the broker then sends with it be taken for a repetition."""
    session = Session(store=Journal())
    session.settle(receive(session, 2, 9)[0])
    assert output(session) == [(PUBREC, 9)]
    session.released(9)
    session.released(9)
    assert output(session) == [] and session.unsafe()
    session.resume(True)
    session.stored(session.change - 1)
    assert not session.unsafe() and output(session) == []       # what was not said waits for the broker to ask again
    session.released(9)
    assert output(session) == [] and session.unsafe()           # though it is free, the disk may not know yet
    session.stored(session.change)
    assert output(session) == [(PUBCOMP, 9)] and not session.unsafe()
    session.released(9)
    assert output(session) == [(PUBCOMP, 9)]


def test_identifiers_of_a_session_that_is_gone_are_cleared_on_the_disk_at_once():
    store = Journal()
    session = Session(store=store)
    session.resume(False)
    assert store.taken() == [] and not session.unsafe()
    session.settle(receive(session, 2, 9)[0])
    assert session.unsafe()
    session.stored(session.change)
    session.resume(False)
    assert store.taken()[-1] == ('clear_received',) and session.unsafe()
    assert receive(session, 2, 9)[1] is True


def test_a_message_that_was_handled_is_not_handled_again_because_it_cannot_be_stored():
    store = Journal()
    store.commit = lambda: (_ for _ in ()).throw(OSError('no room'))
    session = Session(store=store)
    message, _ = receive(session, 2, 9)
    with pytest.raises(OSError):
        session.settle(message)
    session.resume(True)
    assert output(session) == [] and receive(session, 2, 9)[1] is False


def test_what_is_not_committed_does_not_leave():
    store = Journal()
    store.messages = {2: 'staged'}
    session = Session(store=store)
    for text in 'abc':
        add(session, text, 1)
    assert sent(session.leaving()) == [(0x32, 1, 'a')]
    store.messages = {}
    assert sent(session.leaving()) == [(0x32, 2, 'b'), (0x32, 3, 'c')]


def test_a_restart_goes_on_where_the_session_was():
    entries = [(3, 7, 2, False, True, 't', b''), (4, 8, 1, True, False, 't', b'a'), (6, 0, 0, False, False, 't', b'b'),
               (7, 9, 2, False, False, 't', b'c'), (8, 10, 1, False, False, 't', b'd')]
    store = Journal(entries, {5})
    session = Session(inflight=2, store=store)
    assert store.entries is None and len(session) == 5 and session.order == 8
    assert sent(session.resume(True)) == [(PUBREL, 7), (0x3b, 8, 'a')]
    assert sent(session.leaving()) == [(0x30, 0, 'b')]
    assert receive(session, 2, 5, dup=True)[1] is False
    session.acknowledged(PUBCOMP, 7)
    assert sent(session.leaving()) == [(0x34, 9, 'c')]
    assert session.identifier() not in (7, 8, 9, 10)


# Both ends

def test_through_random_losses_qos_1_arrives_and_qos_2_arrives_once():
    """Two sessions, one as the broker's: bytes get lost with each connection, in both directions; nothing else does."""
    print(f'SEED={SEED}')
    dice = random.Random(SEED)
    for _ in range(40):
        ours, theirs = Session(inflight=dice.randrange(1, 6)), Session()
        count, qos = dice.randrange(1, 30), dice.choice((1, 2))
        for n in range(count):
            add(ours, str(n), qos)
        delivered, handling = [], []
        while len(ours) or dice.random() < 0.5:
            to_them, to_us = Decoder(True), Decoder()
            theirs.resume(True)
            wire = b''.join(ours.resume(True))
            for _ in range(dice.randrange(1, 12)):
                wire += b''.join(message.packet for message in ours.leaving()) + bytes(ours.output)
                ours.output.clear()
                cut = dice.randrange(len(wire) + 1) if dice.random() < 0.3 else len(wire)
                back = exchange(theirs, to_them.feed(wire[:cut]), delivered, handling, dice)
                if cut < len(wire) or dice.random() < 0.1:
                    break
                wire = b''
                for item in to_us.feed(back):
                    ours.acknowledged(*item)
            assert to_them.fault is None and to_us.fault is None
        texts = [int(text) for text in delivered]
        assert set(texts) == set(range(count))
        if qos == 2:
            assert texts == list(range(count))
        first = [text for at, text in enumerate(texts) if text not in texts[:at]]
        assert first == sorted(first)


def exchange(session, packets, delivered, handling, dice):
    """The receiving side: handles messages, some of them later. Returns what it answers."""
    for item in packets:
        if item[0] == PUBREL:
            session.released(item[1])
        else:
            message = Message(*item)
            if session.arrived(message):
                delivered.append(message.payload.decode())
                handling.append(message)
    while handling and dice.random() < 0.8:
        session.settle(handling.pop(0))
    data = bytes(session.output)
    session.output.clear()
    return data
