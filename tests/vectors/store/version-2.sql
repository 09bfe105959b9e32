PRAGMA auto_vacuum = INCREMENTAL;
PRAGMA user_version = 2;
BEGIN TRANSACTION;
CREATE TABLE hours (
    kind     TEXT NOT NULL,        -- the column of records that key is of
    hour     INTEGER NOT NULL,     -- POSIX time / 3600
    key      TEXT NOT NULL,
    verdict  TEXT NOT NULL,
    records  INTEGER NOT NULL,
    messages INTEGER NOT NULL,
    last_s   REAL NOT NULL,
    example  INTEGER NOT NULL,     -- the latest record's number
    PRIMARY KEY (kind, hour, key, verdict)
) WITHOUT ROWID;
INSERT INTO "hours" VALUES('caller',491002,'alice@example.com','reject',1,1,1767607200.0,3);
INSERT INTO "hours" VALUES('caller',491003,'alice@example.com','drop',1,1,1767611400.0,4);
INSERT INTO "hours" VALUES('caller',491004,'alice@example.com','accept',1,1,1767614420.0,6);
INSERT INTO "hours" VALUES('caller',491004,'alice@example.com','drop',1,43,1767614400.0,5);
INSERT INTO "hours" VALUES('reason',491002,'not-keyed','reject',1,1,1767607200.0,3);
INSERT INTO "hours" VALUES('reason',491003,'replay','drop',1,1,1767611400.0,4);
INSERT INTO "hours" VALUES('reason',491004,'accepted','accept',1,1,1767614420.0,6);
INSERT INTO "hours" VALUES('reason',491004,'replay','drop',1,43,1767614400.0,5);
INSERT INTO "hours" VALUES('rule',491002,'spoofed','reject',1,1,1767607200.0,3);
INSERT INTO "hours" VALUES('rule',491003,'replayed','drop',1,1,1767611400.0,4);
INSERT INTO "hours" VALUES('rule',491004,'logged','accept',1,1,1767614420.0,6);
INSERT INTO "hours" VALUES('rule',491004,'replayed','drop',1,43,1767614400.0,5);
INSERT INTO "hours" VALUES('src',491002,'203.0.113.9','reject',1,1,1767607200.0,3);
INSERT INTO "hours" VALUES('src',491003,'192.0.2.1','drop',1,1,1767611400.0,4);
INSERT INTO "hours" VALUES('src',491004,'192.0.2.1','accept',1,1,1767614420.0,6);
INSERT INTO "hours" VALUES('src',491004,'192.0.2.1','drop',1,43,1767614400.0,5);
CREATE TABLE records (
    number   INTEGER PRIMARY KEY,  -- the id as a number; grows with time
    revision INTEGER NOT NULL,     -- grows with every write, also of an older record
    first_s  REAL NOT NULL,
    last_s   REAL NOT NULL,
    verdict  TEXT NOT NULL,
    rule     TEXT NOT NULL,
    reason   TEXT NOT NULL,
    src      TEXT NOT NULL,
    src_octets BLOB NOT NULL,
    caller   TEXT NOT NULL,        -- lower case
    call_id  TEXT NOT NULL,        -- lower case
    count    INTEGER NOT NULL,
    more     INTEGER NOT NULL,
    json     TEXT NOT NULL,
    message  BLOB NOT NULL,        -- masked octets
    callee   TEXT NOT NULL DEFAULT '',  -- lower case
    method   TEXT NOT NULL DEFAULT '',
    found    TEXT NOT NULL DEFAULT ''   -- ids and codes between blanks, lower case
);
INSERT INTO "records" VALUES(3,3,1767607200.0,1767607200.0,'reject','spoofed','not-keyed','203.0.113.9',X'CB007109','alice@example.com','call-3@h',1,0,'{"id":"00000003","time":"2026-01-05T10:00:00.000Z","verdict":"reject","mode":"enforce","rule":"spoofed","place":"","reason":"not-keyed","why":"No key for SRTP was negotiated.","field":"","src":"203.0.113.9","src_port":0,"dst":"198.51.100.7","dst_port":0,"transport":"udp","interface":"","zone":"","ipsec":false,"method":"INVITE","status":null,"request_uri":"","from":"<sip:Alice@example.com>","to":"<sip:Bob@example.org>","contact":"","call_id":"Call-3@h","cseq":"","branch":"","user_agent":"","identity":{},"media":[],"dialog":"","count":1,"more":0,"more_from_others":false,"first_time":"2026-01-05T10:00:00.000Z","last_time":"2026-01-05T10:00:00.000Z","findings":[],"ladder":[{"time":"2026-01-05T10:00:00.000Z","message":"INVITE","src":"203.0.113.9","dst":"198.51.100.7","verdict":"reject"}],"also":[],"caller":"Alice@example.com","applied":"drop","code":488,"phrase":"","alarm":false,"packets":{"octets":26,"kept":26},"streams":[],"more_streams":0,"condition":{},"schema":1}',X'494E56495445207369703A624063205349502F322E300D0A0D0A','bob@example.org','INVITE','');
INSERT INTO "records" VALUES(4,4,1767611400.0,1767611400.0,'drop','replayed','replay','192.0.2.1',X'C0000201','alice@example.com','call-4@h',1,0,'{"id":"00000004","time":"2026-01-05T11:10:00.000Z","verdict":"drop","mode":"enforce","rule":"replayed","place":"","reason":"replay","why":"A known request again with changed headers.","field":"","src":"192.0.2.1","src_port":0,"dst":"198.51.100.7","dst_port":0,"transport":"udp","interface":"","zone":"","ipsec":false,"method":"INVITE","status":null,"request_uri":"","from":"<sip:Alice@example.com>","to":"<sip:Bob@example.org>","contact":"","call_id":"Call-4@h","cseq":"","branch":"","user_agent":"","identity":{},"media":[],"dialog":"","count":1,"more":0,"more_from_others":false,"first_time":"2026-01-05T11:10:00.000Z","last_time":"2026-01-05T11:10:00.000Z","findings":[],"ladder":[{"time":"2026-01-05T11:10:00.000Z","message":"INVITE","src":"192.0.2.1","dst":"198.51.100.7","verdict":"drop"}],"also":[],"caller":"Alice@example.com","applied":"drop","code":null,"phrase":"","alarm":false,"packets":{"octets":26,"kept":26},"streams":[],"more_streams":0,"condition":{},"schema":1}',X'494E56495445207369703A624063205349502F322E300D0A0D0A','bob@example.org','INVITE','');
INSERT INTO "records" VALUES(5,7,1767614400.0,1767614400.0,'drop','replayed','replay','192.0.2.1',X'C0000201','alice@example.com','call-5@h',3,40,'{"id":"00000005","time":"2026-01-05T12:00:00.000Z","verdict":"drop","mode":"enforce","rule":"replayed","place":"","reason":"replay","why":"A known request again with changed headers.","field":"","src":"192.0.2.1","src_port":0,"dst":"198.51.100.7","dst_port":0,"transport":"udp","interface":"","zone":"","ipsec":false,"method":"INVITE","status":null,"request_uri":"","from":"<sip:Alice@example.com>","to":"<sip:Bob@example.org>","contact":"","call_id":"Call-5@h","cseq":"","branch":"","user_agent":"","identity":{},"media":[],"dialog":"","count":3,"more":40,"more_from_others":false,"first_time":"2026-01-05T12:00:00.000Z","last_time":"2026-01-05T12:00:00.000Z","findings":[],"ladder":[{"time":"2026-01-05T12:00:00.000Z","message":"INVITE","src":"192.0.2.1","dst":"198.51.100.7","verdict":"drop"}],"also":[],"caller":"Alice@example.com","applied":"drop","code":null,"phrase":"","alarm":false,"packets":{"octets":26,"kept":26},"streams":[],"more_streams":0,"condition":{},"schema":1}',X'494E56495445207369703A624063205349502F322E300D0A0D0A','bob@example.org','INVITE','');
INSERT INTO "records" VALUES(6,6,1767614420.0,1767614420.0,'accept','logged','accepted','192.0.2.1',X'C0000201','alice@example.com','call-6@h',1,0,'{"id":"00000006","time":"2026-01-05T12:00:20.000Z","verdict":"accept","mode":"enforce","rule":"logged","place":"","reason":"accepted","why":"The rule logged of the policy accepts it.","field":"","src":"192.0.2.1","src_port":0,"dst":"198.51.100.7","dst_port":0,"transport":"udp","interface":"","zone":"","ipsec":false,"method":"INVITE","status":null,"request_uri":"","from":"<sip:Alice@example.com>","to":"<sip:Bob@example.org>","contact":"","call_id":"Call-6@h","cseq":"","branch":"","user_agent":"","identity":{},"media":[],"dialog":"","count":1,"more":0,"more_from_others":false,"first_time":"2026-01-05T12:00:20.000Z","last_time":"2026-01-05T12:00:20.000Z","findings":[],"ladder":[{"time":"2026-01-05T12:00:20.000Z","message":"INVITE","src":"192.0.2.1","dst":"198.51.100.7","verdict":"accept"}],"also":[],"caller":"Alice@example.com","applied":"drop","code":null,"phrase":"","alarm":false,"packets":{"octets":26,"kept":26},"streams":[],"more_streams":0,"condition":{},"schema":1}',X'494E56495445207369703A624063205349502F322E300D0A0D0A','bob@example.org','INVITE','');
CREATE UNIQUE INDEX records_revision ON records (revision);
CREATE INDEX records_last ON records (last_s);
CREATE INDEX records_src ON records (src_octets, last_s);
CREATE INDEX records_rule ON records (rule, last_s);
CREATE INDEX records_reason ON records (reason, last_s);
CREATE INDEX records_blocked ON records (
    last_s, verdict, rule, reason, src_octets, caller, callee, call_id, method, found, count, more
) WHERE verdict <> 'accept';
CREATE TRIGGER records_new AFTER INSERT ON records BEGIN INSERT INTO hours VALUES ('src', CAST(new.first_s / 3600 AS INTEGER), new.src, new.verdict, 1, new.count + new.more, new.last_s, new.number) ON CONFLICT (kind, hour, key, verdict) DO UPDATE SET records = records + 1, messages = messages + excluded.messages, last_s = max(last_s, excluded.last_s), example = max(example, excluded.example); INSERT INTO hours VALUES ('caller', CAST(new.first_s / 3600 AS INTEGER), new.caller, new.verdict, 1, new.count + new.more, new.last_s, new.number) ON CONFLICT (kind, hour, key, verdict) DO UPDATE SET records = records + 1, messages = messages + excluded.messages, last_s = max(last_s, excluded.last_s), example = max(example, excluded.example); INSERT INTO hours VALUES ('rule', CAST(new.first_s / 3600 AS INTEGER), new.rule, new.verdict, 1, new.count + new.more, new.last_s, new.number) ON CONFLICT (kind, hour, key, verdict) DO UPDATE SET records = records + 1, messages = messages + excluded.messages, last_s = max(last_s, excluded.last_s), example = max(example, excluded.example); INSERT INTO hours VALUES ('reason', CAST(new.first_s / 3600 AS INTEGER), new.reason, new.verdict, 1, new.count + new.more, new.last_s, new.number) ON CONFLICT (kind, hour, key, verdict) DO UPDATE SET records = records + 1, messages = messages + excluded.messages, last_s = max(last_s, excluded.last_s), example = max(example, excluded.example); END;
CREATE TRIGGER records_grown AFTER UPDATE ON records WHEN old.verdict IS new.verdict AND old.first_s IS new.first_s AND old.src IS new.src AND old.caller IS new.caller AND old.rule IS new.rule AND old.reason IS new.reason BEGIN UPDATE hours SET messages = messages + (new.count + new.more - (old.count + old.more)), last_s = max(last_s, new.last_s) WHERE kind = 'src' AND hour = CAST(new.first_s / 3600 AS INTEGER) AND key = new.src AND verdict = new.verdict; UPDATE hours SET messages = messages + (new.count + new.more - (old.count + old.more)), last_s = max(last_s, new.last_s) WHERE kind = 'caller' AND hour = CAST(new.first_s / 3600 AS INTEGER) AND key = new.caller AND verdict = new.verdict; UPDATE hours SET messages = messages + (new.count + new.more - (old.count + old.more)), last_s = max(last_s, new.last_s) WHERE kind = 'rule' AND hour = CAST(new.first_s / 3600 AS INTEGER) AND key = new.rule AND verdict = new.verdict; UPDATE hours SET messages = messages + (new.count + new.more - (old.count + old.more)), last_s = max(last_s, new.last_s) WHERE kind = 'reason' AND hour = CAST(new.first_s / 3600 AS INTEGER) AND key = new.reason AND verdict = new.verdict; END;
CREATE TRIGGER records_changed AFTER UPDATE ON records WHEN NOT (old.verdict IS new.verdict AND old.first_s IS new.first_s AND old.src IS new.src AND old.caller IS new.caller AND old.rule IS new.rule AND old.reason IS new.reason) BEGIN UPDATE hours SET records = records - 1, messages = messages - (old.count + old.more) WHERE kind = 'src' AND hour = CAST(old.first_s / 3600 AS INTEGER) AND key = old.src AND verdict = old.verdict; UPDATE hours SET records = records - 1, messages = messages - (old.count + old.more) WHERE kind = 'caller' AND hour = CAST(old.first_s / 3600 AS INTEGER) AND key = old.caller AND verdict = old.verdict; UPDATE hours SET records = records - 1, messages = messages - (old.count + old.more) WHERE kind = 'rule' AND hour = CAST(old.first_s / 3600 AS INTEGER) AND key = old.rule AND verdict = old.verdict; UPDATE hours SET records = records - 1, messages = messages - (old.count + old.more) WHERE kind = 'reason' AND hour = CAST(old.first_s / 3600 AS INTEGER) AND key = old.reason AND verdict = old.verdict; INSERT INTO hours VALUES ('src', CAST(new.first_s / 3600 AS INTEGER), new.src, new.verdict, 1, new.count + new.more, new.last_s, new.number) ON CONFLICT (kind, hour, key, verdict) DO UPDATE SET records = records + 1, messages = messages + excluded.messages, last_s = max(last_s, excluded.last_s), example = max(example, excluded.example); INSERT INTO hours VALUES ('caller', CAST(new.first_s / 3600 AS INTEGER), new.caller, new.verdict, 1, new.count + new.more, new.last_s, new.number) ON CONFLICT (kind, hour, key, verdict) DO UPDATE SET records = records + 1, messages = messages + excluded.messages, last_s = max(last_s, excluded.last_s), example = max(example, excluded.example); INSERT INTO hours VALUES ('rule', CAST(new.first_s / 3600 AS INTEGER), new.rule, new.verdict, 1, new.count + new.more, new.last_s, new.number) ON CONFLICT (kind, hour, key, verdict) DO UPDATE SET records = records + 1, messages = messages + excluded.messages, last_s = max(last_s, excluded.last_s), example = max(example, excluded.example); INSERT INTO hours VALUES ('reason', CAST(new.first_s / 3600 AS INTEGER), new.reason, new.verdict, 1, new.count + new.more, new.last_s, new.number) ON CONFLICT (kind, hour, key, verdict) DO UPDATE SET records = records + 1, messages = messages + excluded.messages, last_s = max(last_s, excluded.last_s), example = max(example, excluded.example); END;
COMMIT;
