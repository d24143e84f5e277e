-- Which views each batch of the writer changed, for those who watch. Batches are written one after the other, since each
-- locks its row of `counters`: so the numbers have no gaps, and become visible in their order. `carts` is a JSON array of cart
-- ids, or null if any view may have changed. Only the newest rows are kept.
create table changes (
    seq {id},
    carts text
) {queue};
