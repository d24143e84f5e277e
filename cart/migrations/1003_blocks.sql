-- Blocks of attempts: a row stands for 256 attempts without an Idempotency-Key, and is written before the first of them asks
-- gifticon. A row that a crash left behind becomes cancelled attempts, whose `gifticon_id` and `quantity` are 0: not known.
create table attempt_blocks (
    first_reservation_id text primary key
) {clustered} {queue};
