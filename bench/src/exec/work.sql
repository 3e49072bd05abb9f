CREATE TABLE item (id INTEGER PRIMARY KEY, kind INTEGER, price REAL, name TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40000)
INSERT INTO item SELECT i, (i * 7919) % 101, ((i * 104729) % 10007) / 7.0, 'item ' || ((i * 31) % 5003) FROM n;
CREATE INDEX item_by_kind ON item (kind, price);
SELECT kind, count(*), round(sum(price), 2) FROM item GROUP BY kind HAVING count(*) > 396 ORDER BY 3 DESC LIMIT 3;
SELECT count(*) FROM item a JOIN item b ON a.kind = b.kind AND a.price < b.price WHERE a.id % 200 = 0;
UPDATE item SET price = price * 1.1 WHERE kind BETWEEN 20 AND 40;
SELECT name, count(*) FROM item WHERE name LIKE '%77%' GROUP BY name ORDER BY 2 DESC, 1 LIMIT 3;
DELETE FROM item WHERE id % 3 = 0;
SELECT count(*), round(total(price), 2), max(name) FROM item;
SELECT sum(length(hex(name)) * (id % 5)) FROM item ORDER BY name;
