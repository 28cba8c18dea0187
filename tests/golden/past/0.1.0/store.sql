PRAGMA application_id = 1246319681;
PRAGMA user_version = 1001;
BEGIN;
CREATE TABLE requests (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    uid INTEGER NOT NULL,
    requestor TEXT NOT NULL,
    justification TEXT NOT NULL,
    start_wall INTEGER NOT NULL,
    status TEXT NOT NULL,
    status_reason TEXT
, sender TEXT, login_uid INTEGER, login TEXT, named TEXT, extends INTEGER, asked TEXT, decide_wall INTEGER, decide_boot INTEGER, decide_boot_id TEXT, decided_wall INTEGER, decided_uid INTEGER, decided_by TEXT) STRICT;
CREATE TABLE grants (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    request_id INTEGER NOT NULL REFERENCES requests (id),
    number INTEGER NOT NULL,
    protocol TEXT NOT NULL,
    source TEXT NOT NULL,
    start_wall INTEGER NOT NULL,
    end_wall INTEGER NOT NULL,
    boot_id TEXT NOT NULL,
    end_boot INTEGER NOT NULL,
    state TEXT NOT NULL,
    ended_wall INTEGER,
    ended_reason TEXT,
    ended_by_uid INTEGER,
    ended_by TEXT
, prior_end_boot INTEGER, prior_end_wall INTEGER, first_connection INTEGER) STRICT;
CREATE TABLE checkpoint (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    machine_id TEXT NOT NULL,
    boot_id TEXT NOT NULL,
    boottime_ns INTEGER NOT NULL,
    wall INTEGER NOT NULL
) STRICT;
CREATE TABLE audit (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    wall INTEGER NOT NULL,
    event TEXT NOT NULL,
    detail TEXT NOT NULL,
    previous BLOB NOT NULL,
    hash BLOB NOT NULL
) STRICT;
CREATE TABLE idempotency (
    uid INTEGER NOT NULL,
    key TEXT NOT NULL,
    wall INTEGER NOT NULL,
    body BLOB NOT NULL,
    request_id INTEGER NOT NULL,
    PRIMARY KEY (uid, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE port_use (
    number INTEGER NOT NULL,
    protocol TEXT NOT NULL,
    last_connection INTEGER NOT NULL,
    requestor TEXT NOT NULL,
    PRIMARY KEY (number, protocol)
) STRICT, WITHOUT ROWID;
CREATE TABLE break_glass_use (
    source TEXT PRIMARY KEY,
    boot_id TEXT NOT NULL,
    last_boot INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE audit_terms (
    term TEXT NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (term, seq)
) STRICT, WITHOUT ROWID;
CREATE TABLE audit_anchor (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    seq INTEGER NOT NULL,
    hash BLOB NOT NULL
) STRICT;
INSERT INTO requests VALUES (1, 1000, 'alice', 'stays open', 1795807049507069624, 'approved', NULL, 'alice', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO requests VALUES (2, 1000, 'alice', 'is revoked, ünïcöde', 1795807049538179404, 'approved', NULL, 'alice', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO requests VALUES (3, 1001, 'bob', 'is approved', 1795807049548570960, 'approved', NULL, 'bob', NULL, NULL, NULL, NULL, NULL, 1795808849548570960, 3137991255706, '00000000-0000-4000-8000-000000000000', 1795807049558065660, 1002, 'carol');
INSERT INTO requests VALUES (4, 1001, 'bob', 'is approved', 1795807049568895453, 'approved', NULL, 'bob', NULL, NULL, NULL, 3, NULL, 1795808849568895453, 3138011580604, '00000000-0000-4000-8000-000000000000', 1795807049580733976, 1002, 'carol');
INSERT INTO requests VALUES (5, 1004, 'zoe@example.org via pusher', 'is denied', 1795807049592081593, 'denied', 'not today', 'pusher', NULL, NULL, 'zoe@example.org', NULL, NULL, 1795808849592081593, 3138034766147, '00000000-0000-4000-8000-000000000000', 1795807049604123224, 1002, 'carol');
INSERT INTO requests VALUES (6, 1000, 'alice', 'is cancelled', 1795807049613676052, 'cancelled', NULL, 'alice', NULL, NULL, NULL, NULL, NULL, 1795808849613676052, 3138056360789, '00000000-0000-4000-8000-000000000000', 1795807049623259614, 1000, 'alice');
INSERT INTO requests VALUES (7, 1000, 'alice', 'waits', 1795807049633170430, 'pending', NULL, 'alice', NULL, NULL, NULL, NULL, '[{"number":5986,"sources":["192.0.2.12/32"],"duration":"PT1H"}]', 1795808849633170430, 3138075855133, '00000000-0000-4000-8000-000000000000', NULL, NULL, NULL);
INSERT INTO requests VALUES (8, 1001, 'bob', 'times out', 1795807049643356558, 'timed_out', 'nobody approved it in time', 'bob', NULL, NULL, NULL, NULL, NULL, 1795808849643356558, 1, '00000000-0000-4000-8000-000000000000', 1795807051303556055, NULL, NULL);
INSERT INTO requests VALUES (9, 0, 'root', 'expires', 1795807049655276724, 'approved', NULL, 'root', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO requests VALUES (10, 0, 'root', 'fails', 1795807049667725637, 'failed', 'the agent stopped before it answered the request', 'root', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO requests VALUES (11, 0, 'root', 'ends with its port', 1795807049806275691, 'approved', NULL, 'root', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO requests VALUES (12, 0, 'root', 'once', 1795807050107825167, 'approved', NULL, 'root', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO requests VALUES (13, 0, 'root', 'the operator''s own session, while enforcement is turned on', 1795807050738001462, 'approved', NULL, 'root', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO grants VALUES (1, 1, 22, 'tcp', '192.0.2.10/32', 1795807049507069624, 1795810649518145201, '00000000-0000-4000-8000-000000000000', 4937960830040, 'live', NULL, NULL, NULL, NULL, NULL, NULL, 1795807050110361348);
INSERT INTO grants VALUES (2, 2, 22, 'tcp', '192.0.2.11/32', 1795807049538179404, 1795807649538179404, '00000000-0000-4000-8000-000000000000', 1937980863977, 'revoked', 1795807050667195508, 'done', 1000, 'alice', NULL, NULL, 1795807050110652625);
INSERT INTO grants VALUES (3, 3, 5986, 'tcp', '192.0.2.11/32', 1795807049558065660, 1795814249580733976, '00000000-0000-4000-8000-000000000000', 8538023418627, 'live', NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO grants VALUES (4, 9, 3389, 'udp', '2001:db8::/64', 1795807049655276724, 1795807050655276724, '00000000-0000-4000-8000-000000000000', 1339097961841, 'expired', 1795807050656658787, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO grants VALUES (5, 10, 3389, 'udp', '192.0.2.10/32', 1795807049667725637, 1795810649667725637, '00000000-0000-4000-8000-000000000000', 4938110410712, 'ended', 1795807051300023456, 'the agent stopped before it answered the request', NULL, NULL, NULL, NULL, NULL);
INSERT INTO grants VALUES (6, 11, 443, 'tcp', '192.0.2.10/32', 1795807049806275691, 1795810649806275691, '00000000-0000-4000-8000-000000000000', 3138281002485, 'ended', 1795807050083611783, 'port 443/tcp is no longer in the configuration', NULL, NULL, NULL, NULL, NULL);
INSERT INTO grants VALUES (7, 12, 3389, 'udp', '198.51.100.1/32', 1795807050107825167, 1795810650107825167, '00000000-0000-4000-8000-000000000000', 4938550509923, 'live', NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO grants VALUES (8, 13, 22, 'tcp', '192.0.2.99/32', 1795807050738001462, 1795810650738001462, '00000000-0000-4000-8000-000000000000', 4939180686031, 'live', NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO checkpoint VALUES (1, '00000000000000000000000000000000', '00000000-0000-4000-8000-000000000000', 1339784872760, 1795807051342188152);
INSERT INTO audit VALUES (1, 1795807049471750004, 'started', '{}', X'0000000000000000000000000000000000000000000000000000000000000000', X'D04ABEB717C904927F120CC0B59027EF6EED6D63838E8B2FDEA3D07C65D10EF0');
INSERT INTO audit VALUES (2, 1795807049475955126, 'attached', '{"interface":"srv0","index":2,"how":"native","note":null,"covered_after_ms":null}', X'D04ABEB717C904927F120CC0B59027EF6EED6D63838E8B2FDEA3D07C65D10EF0', X'D2FF3C647283BF54D133AEE927D59089D5773D650A584C5976E8D2A59B3281E1');
INSERT INTO audit VALUES (3, 1795807049507069624, 'requested', '{"request":1,"requestor":"alice","uid":1000,"by":{"uid":1000,"name":"alice"},"justification":"stays open","ports":[{"number":22,"sources":["192.0.2.10/32"],"seconds":600}]}', X'D2FF3C647283BF54D133AEE927D59089D5773D650A584C5976E8D2A59B3281E1', X'F514F5D0329E2C07202E15D30EB3322DD215DAAC5981AFF50B1934D508FFDE97');
INSERT INTO audit VALUES (4, 1795807049507069624, 'granted', '{"grant":1,"request":1,"number":22,"protocol":"tcp","source":"192.0.2.10/32","end":"2026-11-27T19:27:29.507069624Z","requestor":"alice","uid":1000}', X'F514F5D0329E2C07202E15D30EB3322DD215DAAC5981AFF50B1934D508FFDE97', X'F631718D4F820E40FE7CBF09076EA7467F36694E11372A15A1B90AF67A14CDE6');
INSERT INTO audit VALUES (5, 1795807049518145201, 'extended', '{"grant":1,"request":1,"number":22,"protocol":"tcp","source":"192.0.2.10/32","end":"2026-11-27T20:17:29.518145201Z","before":"2026-11-27T19:27:29.507069624Z","requestor":"alice","by":{"uid":1000,"name":"alice"}}', X'F631718D4F820E40FE7CBF09076EA7467F36694E11372A15A1B90AF67A14CDE6', X'0AFFF6F1B18F9244125EAB72BA18CD2B11B240D4A0C8863F6192C73ACD295520');
INSERT INTO audit VALUES (6, 1795807049528147833, 'denied', '{"requestor":"alice","uid":1000,"by":{"uid":1000,"name":"alice"},"action":"request","justification":"more than the quota","ports":[{"number":22,"sources":["192.0.2.11/32","2001:db8::/64"],"seconds":600}],"violations":[{"port":"22/tcp","field":"quota","given":"2 more than the 1 that are live or wait for approval","allowed":"at most 2 a person"}],"violation_count":1}', X'0AFFF6F1B18F9244125EAB72BA18CD2B11B240D4A0C8863F6192C73ACD295520', X'84AABA66A0F2C192ADBDB7D4B91C7D273999437FCD1ABBFD4617E9A6D525F602');
INSERT INTO audit VALUES (7, 1795807049538179404, 'requested', '{"request":2,"requestor":"alice","uid":1000,"by":{"uid":1000,"name":"alice"},"justification":"is revoked, ünïcöde","ports":[{"number":22,"sources":["192.0.2.11/32"],"seconds":600}]}', X'84AABA66A0F2C192ADBDB7D4B91C7D273999437FCD1ABBFD4617E9A6D525F602', X'B954C39B7C103E2A57BAE766D920FAB7DF3B4D313511D17523C0A2A10B9B0E51');
INSERT INTO audit VALUES (8, 1795807049538179404, 'granted', '{"grant":2,"request":2,"number":22,"protocol":"tcp","source":"192.0.2.11/32","end":"2026-11-27T19:27:29.538179404Z","requestor":"alice","uid":1000}', X'B954C39B7C103E2A57BAE766D920FAB7DF3B4D313511D17523C0A2A10B9B0E51', X'217C0AFD48A3A28A359BF87C34BC85C35670298BFD42A6BD3A746C54009BA1B9');
INSERT INTO audit VALUES (9, 1795807049548570960, 'requested', '{"request":3,"requestor":"bob","uid":1001,"by":{"uid":1001,"name":"bob"},"justification":"is approved","ports":[{"number":5986,"sources":["192.0.2.11/32"],"seconds":3600}],"pending_until":"2026-11-27T19:47:29.54857096Z"}', X'217C0AFD48A3A28A359BF87C34BC85C35670298BFD42A6BD3A746C54009BA1B9', X'1DC061DAFF0F44072B39A6F88FDB5169DF6373D67EFA2D16181FD280291291FC');
INSERT INTO audit VALUES (10, 1795807049558065660, 'approved', '{"request":3,"requestor":"bob","uid":1001,"by":{"uid":1002,"name":"carol"}}', X'1DC061DAFF0F44072B39A6F88FDB5169DF6373D67EFA2D16181FD280291291FC', X'5D7B67DC30DDD7D1A1FEB9B0E19E61036651FD9556FFDE4D3BA4B9873C721B14');
INSERT INTO audit VALUES (11, 1795807049558065660, 'granted', '{"grant":3,"request":3,"number":5986,"protocol":"tcp","source":"192.0.2.11/32","end":"2026-11-27T20:17:29.55806566Z","requestor":"bob","uid":1001}', X'5D7B67DC30DDD7D1A1FEB9B0E19E61036651FD9556FFDE4D3BA4B9873C721B14', X'11755B868BC28E8634BACCF088EA673F638913556D5506A64512BB756DBC4BFD');
INSERT INTO audit VALUES (12, 1795807049568895453, 'requested', '{"request":4,"requestor":"bob","uid":1001,"by":{"uid":1001,"name":"bob"},"justification":"is approved","ports":[{"number":5986,"sources":["192.0.2.11/32"],"protocol":"tcp","seconds":7200}],"pending_until":"2026-11-27T19:47:29.568895453Z","grant":3}', X'11755B868BC28E8634BACCF088EA673F638913556D5506A64512BB756DBC4BFD', X'113878C9A2BEF131B92B2EE9FB02AF21C71B328B9461C179E62694474C02324F');
INSERT INTO audit VALUES (13, 1795807049580733976, 'approved', '{"request":4,"requestor":"bob","uid":1001,"by":{"uid":1002,"name":"carol"}}', X'113878C9A2BEF131B92B2EE9FB02AF21C71B328B9461C179E62694474C02324F', X'50EE810BA20393C12978A1F29727DB54785241A434AA1D09628E17BA791915F8');
INSERT INTO audit VALUES (14, 1795807049580733976, 'extended', '{"grant":3,"request":3,"number":5986,"protocol":"tcp","source":"192.0.2.11/32","end":"2026-11-27T21:17:29.580733976Z","before":"2026-11-27T20:17:29.55806566Z","requestor":"bob","by":{"uid":1002,"name":"carol"}}', X'50EE810BA20393C12978A1F29727DB54785241A434AA1D09628E17BA791915F8', X'61BBC21B62702C3F5F67F1284C2D59AA1A1D3D351496C5EFF2C90EDDC0C6A3DA');
INSERT INTO audit VALUES (15, 1795807049592081593, 'requested', '{"request":5,"requestor":"zoe@example.org via pusher","uid":1004,"by":{"uid":1004,"name":"pusher"},"justification":"is denied","ports":[{"number":5986,"sources":["2001:db8:1::/48"],"seconds":3600}],"pending_until":"2026-11-27T19:47:29.592081593Z"}', X'61BBC21B62702C3F5F67F1284C2D59AA1A1D3D351496C5EFF2C90EDDC0C6A3DA', X'D318F1EA25EB6319A14ED8B1E5EBF84C3FB5A10BB7097C3BEB01E4B89BD5D49C');
INSERT INTO audit VALUES (16, 1795807049604123224, 'denied', '{"request":5,"requestor":"zoe@example.org via pusher","uid":1004,"by":{"uid":1002,"name":"carol"},"reason":"not today"}', X'D318F1EA25EB6319A14ED8B1E5EBF84C3FB5A10BB7097C3BEB01E4B89BD5D49C', X'5A0A17101D588DF5ED078070E3763260CADE6C1575B8C782496F17A17B174E0A');
INSERT INTO audit VALUES (17, 1795807049613676052, 'requested', '{"request":6,"requestor":"alice","uid":1000,"by":{"uid":1000,"name":"alice"},"justification":"is cancelled","ports":[{"number":5986,"sources":["192.0.2.10/32"],"seconds":3600}],"pending_until":"2026-11-27T19:47:29.613676052Z"}', X'5A0A17101D588DF5ED078070E3763260CADE6C1575B8C782496F17A17B174E0A', X'12B2BD6A300DAA9864824EC9A7B7F50D9E508785466BAB21CACDDC741542EB7D');
INSERT INTO audit VALUES (18, 1795807049623259614, 'cancelled', '{"request":6,"requestor":"alice","uid":1000,"by":{"uid":1000,"name":"alice"},"reason":null}', X'12B2BD6A300DAA9864824EC9A7B7F50D9E508785466BAB21CACDDC741542EB7D', X'1D0D0E599D02FAA567C9A0FB7928CD7B63B95E5C65DB882D8ED2FB264B45A9EB');
INSERT INTO audit VALUES (19, 1795807049633170430, 'requested', '{"request":7,"requestor":"alice","uid":1000,"by":{"uid":1000,"name":"alice"},"justification":"waits","ports":[{"number":5986,"sources":["192.0.2.12/32"],"seconds":3600}],"pending_until":"2026-11-27T19:47:29.63317043Z"}', X'1D0D0E599D02FAA567C9A0FB7928CD7B63B95E5C65DB882D8ED2FB264B45A9EB', X'4D2E1AEF70D26FD2543105E79C057940C7960DA4E219D9861454F1E209DAC4C8');
INSERT INTO audit VALUES (20, 1795807049643356558, 'requested', '{"request":8,"requestor":"bob","uid":1001,"by":{"uid":1001,"name":"bob"},"justification":"times out","ports":[{"number":5986,"sources":["192.0.2.13/32"],"seconds":3600}],"pending_until":"2026-11-27T19:47:29.643356558Z"}', X'4D2E1AEF70D26FD2543105E79C057940C7960DA4E219D9861454F1E209DAC4C8', X'B7E75B031BC2B9EDFD730587C9877AA39E2DD775C73470BCE9ABE34D6AFF4093');
INSERT INTO audit VALUES (21, 1795807049655276724, 'requested', '{"request":9,"requestor":"root","uid":0,"by":{"uid":0,"name":"root"},"justification":"expires","ports":[{"number":3389,"sources":["2001:db8::/64"],"protocol":"udp","seconds":1}]}', X'B7E75B031BC2B9EDFD730587C9877AA39E2DD775C73470BCE9ABE34D6AFF4093', X'F53E2037AC87E3F3071C38271AFBF0FB92DBC608E9C81BCBC02DDEBD8BA50B29');
INSERT INTO audit VALUES (22, 1795807049655276724, 'granted', '{"grant":4,"request":9,"number":3389,"protocol":"udp","source":"2001:db8::/64","end":"2026-11-27T19:17:30.655276724Z","requestor":"root","uid":0}', X'F53E2037AC87E3F3071C38271AFBF0FB92DBC608E9C81BCBC02DDEBD8BA50B29', X'A66A9FDF9A7DB78771F07B3FB2B28E3009360CF73729D9DFAED248A323894A52');
INSERT INTO audit VALUES (23, 1795807049667725637, 'requested', '{"request":10,"requestor":"root","uid":0,"by":{"uid":0,"name":"root"},"justification":"fails","ports":[{"number":3389,"sources":["192.0.2.10/32"],"protocol":"udp","seconds":3600}]}', X'A66A9FDF9A7DB78771F07B3FB2B28E3009360CF73729D9DFAED248A323894A52', X'951DF076C6F681F16E9CD358CB2BE7C6D281D08514A9DBAEE02AC9D99BC51CDB');
INSERT INTO audit VALUES (24, 1795807049667725637, 'granted', '{"grant":5,"request":10,"number":3389,"protocol":"udp","source":"192.0.2.10/32","end":"2026-11-27T20:17:29.667725637Z","requestor":"root","uid":0}', X'951DF076C6F681F16E9CD358CB2BE7C6D281D08514A9DBAEE02AC9D99BC51CDB', X'AD3B5F691BF227D9D105D7D581CBD93E994525FD5BED9DBC277570F1A810F63B');
INSERT INTO audit VALUES (25, 1795807049793178876, 'policy_changed', '{"by":{"uid":0,"name":"root"},"number":443,"protocol":"tcp","change":"added","before":null,"after":{"allowed_sources":["192.0.2.0/24"],"max_duration":7200,"approval":"auto","approval_timeout":3600,"justification":"required","quota":32}}', X'AD3B5F691BF227D9D105D7D581CBD93E994525FD5BED9DBC277570F1A810F63B', X'459873EC019605698CDF3704FE4F643411EA7A9E946271D37CA56252AD42DB6F');
INSERT INTO audit VALUES (26, 1795807049806275691, 'requested', '{"request":11,"requestor":"root","uid":0,"by":{"uid":0,"name":"root"},"justification":"ends with its port","ports":[{"number":443,"sources":["192.0.2.10/32"],"seconds":3600}]}', X'459873EC019605698CDF3704FE4F643411EA7A9E946271D37CA56252AD42DB6F', X'B8C4BF58ECEA9BB14C9DCD61940E97B79FC9C0931E3B9897CF5C3C94A04AC588');
INSERT INTO audit VALUES (27, 1795807049806275691, 'granted', '{"grant":6,"request":11,"number":443,"protocol":"tcp","source":"192.0.2.10/32","end":"2026-11-27T20:17:29.806275691Z","requestor":"root","uid":0}', X'B8C4BF58ECEA9BB14C9DCD61940E97B79FC9C0931E3B9897CF5C3C94A04AC588', X'004431AC691BA80F5B7E678D2681D058FC5A9248DC2474E7B8FE38C051E9657C');
INSERT INTO audit VALUES (28, 1795807049838734930, 'shortened', '{"port":"443/tcp","grants":[6],"reason":"the configuration allows less time"}', X'004431AC691BA80F5B7E678D2681D058FC5A9248DC2474E7B8FE38C051E9657C', X'CE9CB439B08F4B8A083970539E57A20EF89E93FE3859E763269CFF5FF8EC865D');
INSERT INTO audit VALUES (29, 1795807050052219778, 'policy_changed', '{"by":{"uid":0,"name":"root"},"number":443,"protocol":"tcp","change":"changed","before":{"allowed_sources":["192.0.2.0/24"],"max_duration":7200,"approval":"auto","approval_timeout":3600,"justification":"required","quota":32},"after":{"allowed_sources":["192.0.2.0/24"],"max_duration":1800,"approval":"auto","approval_timeout":3600,"justification":"required","quota":32}}', X'CE9CB439B08F4B8A083970539E57A20EF89E93FE3859E763269CFF5FF8EC865D', X'615300BC1DC47C3398FE045D547611C428360C7B9EE8A6DEA0938D791BD302F3');
INSERT INTO audit VALUES (30, 1795807050083611783, 'ended', '{"grant":6,"request":11,"number":443,"protocol":"tcp","source":"192.0.2.10/32","requestor":"root","by":null,"reason":"port 443/tcp is no longer in the configuration"}', X'615300BC1DC47C3398FE045D547611C428360C7B9EE8A6DEA0938D791BD302F3', X'4C155313AC04E5F05EA10883CA282827B9B76F2F5F7F5A20F659E6AC78FE7EA4');
INSERT INTO audit VALUES (31, 1795807050102430742, 'policy_changed', '{"by":{"uid":0,"name":"root"},"number":443,"protocol":"tcp","change":"removed","before":{"allowed_sources":["192.0.2.0/24"],"max_duration":1800,"approval":"auto","approval_timeout":3600,"justification":"required","quota":32},"after":null}', X'4C155313AC04E5F05EA10883CA282827B9B76F2F5F7F5A20F659E6AC78FE7EA4', X'2B0399BA2FAA1C7337BE7860D43AADABAC7096F097DE49D65DC3CF4EF8F42B78');
INSERT INTO audit VALUES (32, 1795807050107825167, 'requested', '{"request":12,"requestor":"root","uid":0,"by":{"uid":0,"name":"root"},"justification":"once","ports":[{"number":3389,"sources":["198.51.100.1/32"],"protocol":"udp","seconds":3600}]}', X'2B0399BA2FAA1C7337BE7860D43AADABAC7096F097DE49D65DC3CF4EF8F42B78', X'D0D94FD0F3AFB2B4CD6D060AF2E15FDDFEDBF11AD3B84624B1474EF5FD1716BC');
INSERT INTO audit VALUES (33, 1795807050107825167, 'granted', '{"grant":7,"request":12,"number":3389,"protocol":"udp","source":"198.51.100.1/32","end":"2026-11-27T20:17:30.107825167Z","requestor":"root","uid":0}', X'D0D94FD0F3AFB2B4CD6D060AF2E15FDDFEDBF11AD3B84624B1474EF5FD1716BC', X'5FFA81E57AE3DEF3565B9D14C5A193233137326E0F016CC8BCDEEC7ED1549AC6');
INSERT INTO audit VALUES (34, 1795807050478196175, 'first_connection', '{"grant":2,"request":2,"number":22,"protocol":"tcp","source":"192.0.2.11/32","requestor":"alice","time":"2026-11-27T19:17:30.110652625Z"}', X'5FFA81E57AE3DEF3565B9D14C5A193233137326E0F016CC8BCDEEC7ED1549AC6', X'AB6A9A265D6163A0F1A6E868BAD800DA851DD62EDB78EFA7EC1AB96FB45E96E2');
INSERT INTO audit VALUES (35, 1795807050478196175, 'first_connection', '{"grant":1,"request":1,"number":22,"protocol":"tcp","source":"192.0.2.10/32","requestor":"alice","time":"2026-11-27T19:17:30.110361348Z"}', X'AB6A9A265D6163A0F1A6E868BAD800DA851DD62EDB78EFA7EC1AB96FB45E96E2', X'BE3F06959225E260494DDE897575F7486D34532B3F1F78A12634A5EF6AFBB4A1');
INSERT INTO audit VALUES (36, 1795807050478940310, 'break_glass_used', '{"source":"2001:db8::10/128","time":"2026-11-27T19:17:30.110804888Z"}', X'BE3F06959225E260494DDE897575F7486D34532B3F1F78A12634A5EF6AFBB4A1', X'A2B6CCD0AC76CB51D1C50FCC7C22D1DB6486F07FD44BE9D1DA06A5DDFCE8899A');
INSERT INTO audit VALUES (37, 1795807050656658787, 'expired', '{"grant":4,"request":9,"number":3389,"protocol":"udp","source":"2001:db8::/64","requestor":"root","by":null,"reason":null}', X'A2B6CCD0AC76CB51D1C50FCC7C22D1DB6486F07FD44BE9D1DA06A5DDFCE8899A', X'5BCBA2BA131F3A0E79FAB09FD9665E740D5A06DE2DEC9886AF8B6467D0A9693B');
INSERT INTO audit VALUES (38, 1795807050667195508, 'revoked', '{"grant":2,"request":2,"number":22,"protocol":"tcp","source":"192.0.2.11/32","requestor":"alice","by":{"uid":1000,"name":"alice"},"reason":"done"}', X'5BCBA2BA131F3A0E79FAB09FD9665E740D5A06DE2DEC9886AF8B6467D0A9693B', X'2FA749A0CD5ACFED8054047E1E9D920B3F6721654D3F1DFB366E3CAF3154B8E6');
INSERT INTO audit VALUES (39, 1795807050667195508, 'last_connection', '{"grant":2,"request":2,"number":22,"protocol":"tcp","source":"192.0.2.11/32","requestor":"alice","time":"2026-11-27T19:17:30.110652625Z"}', X'2FA749A0CD5ACFED8054047E1E9D920B3F6721654D3F1DFB366E3CAF3154B8E6', X'3973B53E7C5F26DB1E946EFCCA90AC5AAA1C09DA602E5287339C806D5FBECDE4');
INSERT INTO audit VALUES (40, 1795807050719325729, 'disabled', '{"by":{"uid":0,"name":"root"}}', X'3973B53E7C5F26DB1E946EFCCA90AC5AAA1C09DA602E5287339C806D5FBECDE4', X'2815C301A36016F1740119B9A6FD17229A5B0D426FD99B8A4BB636FBAA9F4990');
INSERT INTO audit VALUES (41, 1795807050738001462, 'requested', '{"request":13,"requestor":"root","uid":0,"by":{"uid":0,"name":"root"},"justification":"the operator''s own session, while enforcement is turned on","ports":[{"number":22,"sources":["192.0.2.99/32"],"protocol":"tcp","seconds":3600}]}', X'2815C301A36016F1740119B9A6FD17229A5B0D426FD99B8A4BB636FBAA9F4990', X'95868E6812103EC023BB5604895E401F58CBC892792F1DD3F13C358907A469EC');
INSERT INTO audit VALUES (42, 1795807050738001462, 'granted', '{"grant":8,"request":13,"number":22,"protocol":"tcp","source":"192.0.2.99/32","end":"2026-11-27T20:17:30.738001462Z","requestor":"root","uid":0}', X'95868E6812103EC023BB5604895E401F58CBC892792F1DD3F13C358907A469EC', X'177B5B8B6525A7E293309A2AA419C320A1F88ECFBE3C659DBEF5F7D96FF5D1D7');
INSERT INTO audit VALUES (43, 1795807050770587862, 'enabled', '{"by":{"uid":0,"name":"root"},"seconds":600,"source":"192.0.2.99","number":22,"grant":8,"way_back":{"console":true,"break_glass":["2001:db8::10/128"],"delegates":[]}}', X'177B5B8B6525A7E293309A2AA419C320A1F88ECFBE3C659DBEF5F7D96FF5D1D7', X'16B2490E8E67286B0698736328C33F2867719E4731C54676BEE60808249463BD');
INSERT INTO audit VALUES (44, 1795807050825160837, 'confirmed', '{"by":{"uid":0,"name":"root"},"tried":"enable","mode":"enforce"}', X'16B2490E8E67286B0698736328C33F2867719E4731C54676BEE60808249463BD', X'A8B3B000B981D0E483DAE78724F32AFBDB09BD913F4F8A50B779707232746455');
INSERT INTO audit VALUES (45, 1795807050879390029, 'policy_changed', '{"by":{"uid":0,"name":"root"},"number":null,"protocol":null,"change":"reloaded","ports":[],"before":{"mode":"enforce","interfaces":["srv0"],"scope":"all","fragments":"pass","break_glass":["2001:db8::10/128"],"retention_days":36500,"roles":{"viewer":["@jit-viewers"],"requester":["@jit-users","bob"],"approver":["@jit-approvers"],"admin":[],"delegate":["pusher"]}},"after":{"mode":"enforce","interfaces":["srv0"],"scope":"all","fragments":"pass","break_glass":["2001:db8::10/128"],"retention_days":36500,"roles":{"viewer":["@jit-viewers"],"requester":["@jit-users","bob"],"approver":["@jit-approvers"],"admin":[],"delegate":["pusher"]}}}', X'A8B3B000B981D0E483DAE78724F32AFBDB09BD913F4F8A50B779707232746455', X'76EF8C753045B503AE8352AB6F00910A0B808628E39EA0C086AB87126D3F155D');
INSERT INTO audit VALUES (46, 1795807050883415961, 'stopped', '{}', X'76EF8C753045B503AE8352AB6F00910A0B808628E39EA0C086AB87126D3F155D', X'5DB853B690CE892140CC9A6C51ADC1DAABDC3A3AFB511C17E275CA83452C4398');
INSERT INTO audit VALUES (47, 1795807051300023456, 'failed', '{"request":10,"reason":"the agent stopped before it answered the request"}', X'5DB853B690CE892140CC9A6C51ADC1DAABDC3A3AFB511C17E275CA83452C4398', X'02508969B0FBD536C487F201E30AC3548921D58645D0B188693D322F576E2D6D');
INSERT INTO audit VALUES (48, 1795807051300023456, 'ended', '{"grant":5,"request":10,"number":3389,"protocol":"udp","source":"192.0.2.10/32","requestor":"root","by":null,"reason":"the agent stopped before it answered the request"}', X'02508969B0FBD536C487F201E30AC3548921D58645D0B188693D322F576E2D6D', X'2674A12F4DD9144362863D21D1B20AFC178EE049C551705C8A3FDB15866EB58A');
INSERT INTO audit VALUES (49, 1795807051301437097, 'started', '{}', X'2674A12F4DD9144362863D21D1B20AFC178EE049C551705C8A3FDB15866EB58A', X'E892B138232F9DA42931222D7FA323A89899077BF76B04D58DB8E4AC80F897CD');
INSERT INTO audit VALUES (50, 1795807051303556055, 'timed_out', '{"request":8,"requestor":"bob","uid":1001,"by":null,"reason":"nobody approved it in time"}', X'E892B138232F9DA42931222D7FA323A89899077BF76B04D58DB8E4AC80F897CD', X'1039ECD75567243BDFC413A8CEDF59E47403A8AB6A28AE52348789140374DBD2');
INSERT INTO audit VALUES (51, 1795807051304927107, 'attached', '{"interface":"srv0","index":2,"how":"native","note":null,"covered_after_ms":null}', X'1039ECD75567243BDFC413A8CEDF59E47403A8AB6A28AE52348789140374DBD2', X'08DEDD85D4DDE9E48A5F9527694AADB08DA86936DE7819B7FBA551809B05617B');
INSERT INTO audit VALUES (52, 1795807051342412872, 'stopped', '{}', X'08DEDD85D4DDE9E48A5F9527694AADB08DA86936DE7819B7FBA551809B05617B', X'90CEDAAC5DE5842E2D9B5BA4D9B59E049BEB85DF4BF5E14555A6362DE6F67DDB');
INSERT INTO idempotency VALUES (0, 'the same again', 1795807050107825167, X'B0A54028B6D3D7D83169FFFF2973F590CDD972AA7E8C2BA10806513FC0997437', 12);
INSERT INTO port_use VALUES (22, 'tcp', 1795807050110652625, 'alice');
INSERT INTO break_glass_use VALUES ('2001:db8::10/128', '00000000-0000-4000-8000-000000000000', 1338553488722);
INSERT INTO audit_terms VALUES ('event:approved', 10);
INSERT INTO audit_terms VALUES ('event:approved', 13);
INSERT INTO audit_terms VALUES ('event:attached', 2);
INSERT INTO audit_terms VALUES ('event:attached', 51);
INSERT INTO audit_terms VALUES ('event:break_glass_used', 36);
INSERT INTO audit_terms VALUES ('event:cancelled', 18);
INSERT INTO audit_terms VALUES ('event:confirmed', 44);
INSERT INTO audit_terms VALUES ('event:denied', 6);
INSERT INTO audit_terms VALUES ('event:denied', 16);
INSERT INTO audit_terms VALUES ('event:disabled', 40);
INSERT INTO audit_terms VALUES ('event:enabled', 43);
INSERT INTO audit_terms VALUES ('event:ended', 30);
INSERT INTO audit_terms VALUES ('event:ended', 48);
INSERT INTO audit_terms VALUES ('event:expired', 37);
INSERT INTO audit_terms VALUES ('event:extended', 5);
INSERT INTO audit_terms VALUES ('event:extended', 14);
INSERT INTO audit_terms VALUES ('event:failed', 47);
INSERT INTO audit_terms VALUES ('event:first_connection', 34);
INSERT INTO audit_terms VALUES ('event:first_connection', 35);
INSERT INTO audit_terms VALUES ('event:granted', 4);
INSERT INTO audit_terms VALUES ('event:granted', 8);
INSERT INTO audit_terms VALUES ('event:granted', 11);
INSERT INTO audit_terms VALUES ('event:granted', 22);
INSERT INTO audit_terms VALUES ('event:granted', 24);
INSERT INTO audit_terms VALUES ('event:granted', 27);
INSERT INTO audit_terms VALUES ('event:granted', 33);
INSERT INTO audit_terms VALUES ('event:granted', 42);
INSERT INTO audit_terms VALUES ('event:last_connection', 39);
INSERT INTO audit_terms VALUES ('event:policy_changed', 25);
INSERT INTO audit_terms VALUES ('event:policy_changed', 29);
INSERT INTO audit_terms VALUES ('event:policy_changed', 31);
INSERT INTO audit_terms VALUES ('event:policy_changed', 45);
INSERT INTO audit_terms VALUES ('event:requested', 3);
INSERT INTO audit_terms VALUES ('event:requested', 7);
INSERT INTO audit_terms VALUES ('event:requested', 9);
INSERT INTO audit_terms VALUES ('event:requested', 12);
INSERT INTO audit_terms VALUES ('event:requested', 15);
INSERT INTO audit_terms VALUES ('event:requested', 17);
INSERT INTO audit_terms VALUES ('event:requested', 19);
INSERT INTO audit_terms VALUES ('event:requested', 20);
INSERT INTO audit_terms VALUES ('event:requested', 21);
INSERT INTO audit_terms VALUES ('event:requested', 23);
INSERT INTO audit_terms VALUES ('event:requested', 26);
INSERT INTO audit_terms VALUES ('event:requested', 32);
INSERT INTO audit_terms VALUES ('event:requested', 41);
INSERT INTO audit_terms VALUES ('event:revoked', 38);
INSERT INTO audit_terms VALUES ('event:shortened', 28);
INSERT INTO audit_terms VALUES ('event:started', 1);
INSERT INTO audit_terms VALUES ('event:started', 49);
INSERT INTO audit_terms VALUES ('event:stopped', 46);
INSERT INTO audit_terms VALUES ('event:stopped', 52);
INSERT INTO audit_terms VALUES ('event:timed_out', 50);
INSERT INTO audit_terms VALUES ('port:22', 3);
INSERT INTO audit_terms VALUES ('port:22', 4);
INSERT INTO audit_terms VALUES ('port:22', 5);
INSERT INTO audit_terms VALUES ('port:22', 6);
INSERT INTO audit_terms VALUES ('port:22', 7);
INSERT INTO audit_terms VALUES ('port:22', 8);
INSERT INTO audit_terms VALUES ('port:22', 34);
INSERT INTO audit_terms VALUES ('port:22', 35);
INSERT INTO audit_terms VALUES ('port:22', 38);
INSERT INTO audit_terms VALUES ('port:22', 39);
INSERT INTO audit_terms VALUES ('port:22', 41);
INSERT INTO audit_terms VALUES ('port:22', 42);
INSERT INTO audit_terms VALUES ('port:22', 43);
INSERT INTO audit_terms VALUES ('port:3389', 21);
INSERT INTO audit_terms VALUES ('port:3389', 22);
INSERT INTO audit_terms VALUES ('port:3389', 23);
INSERT INTO audit_terms VALUES ('port:3389', 24);
INSERT INTO audit_terms VALUES ('port:3389', 32);
INSERT INTO audit_terms VALUES ('port:3389', 33);
INSERT INTO audit_terms VALUES ('port:3389', 37);
INSERT INTO audit_terms VALUES ('port:3389', 48);
INSERT INTO audit_terms VALUES ('port:443', 25);
INSERT INTO audit_terms VALUES ('port:443', 26);
INSERT INTO audit_terms VALUES ('port:443', 27);
INSERT INTO audit_terms VALUES ('port:443', 29);
INSERT INTO audit_terms VALUES ('port:443', 30);
INSERT INTO audit_terms VALUES ('port:443', 31);
INSERT INTO audit_terms VALUES ('port:5986', 9);
INSERT INTO audit_terms VALUES ('port:5986', 11);
INSERT INTO audit_terms VALUES ('port:5986', 12);
INSERT INTO audit_terms VALUES ('port:5986', 14);
INSERT INTO audit_terms VALUES ('port:5986', 15);
INSERT INTO audit_terms VALUES ('port:5986', 17);
INSERT INTO audit_terms VALUES ('port:5986', 19);
INSERT INTO audit_terms VALUES ('port:5986', 20);
INSERT INTO audit_terms VALUES ('user:alice', 3);
INSERT INTO audit_terms VALUES ('user:alice', 4);
INSERT INTO audit_terms VALUES ('user:alice', 5);
INSERT INTO audit_terms VALUES ('user:alice', 6);
INSERT INTO audit_terms VALUES ('user:alice', 7);
INSERT INTO audit_terms VALUES ('user:alice', 8);
INSERT INTO audit_terms VALUES ('user:alice', 17);
INSERT INTO audit_terms VALUES ('user:alice', 18);
INSERT INTO audit_terms VALUES ('user:alice', 19);
INSERT INTO audit_terms VALUES ('user:alice', 34);
INSERT INTO audit_terms VALUES ('user:alice', 35);
INSERT INTO audit_terms VALUES ('user:alice', 38);
INSERT INTO audit_terms VALUES ('user:alice', 39);
INSERT INTO audit_terms VALUES ('user:bob', 9);
INSERT INTO audit_terms VALUES ('user:bob', 10);
INSERT INTO audit_terms VALUES ('user:bob', 11);
INSERT INTO audit_terms VALUES ('user:bob', 12);
INSERT INTO audit_terms VALUES ('user:bob', 13);
INSERT INTO audit_terms VALUES ('user:bob', 14);
INSERT INTO audit_terms VALUES ('user:bob', 20);
INSERT INTO audit_terms VALUES ('user:bob', 50);
INSERT INTO audit_terms VALUES ('user:carol', 10);
INSERT INTO audit_terms VALUES ('user:carol', 13);
INSERT INTO audit_terms VALUES ('user:carol', 14);
INSERT INTO audit_terms VALUES ('user:carol', 16);
INSERT INTO audit_terms VALUES ('user:pusher', 15);
INSERT INTO audit_terms VALUES ('user:root', 21);
INSERT INTO audit_terms VALUES ('user:root', 22);
INSERT INTO audit_terms VALUES ('user:root', 23);
INSERT INTO audit_terms VALUES ('user:root', 24);
INSERT INTO audit_terms VALUES ('user:root', 25);
INSERT INTO audit_terms VALUES ('user:root', 26);
INSERT INTO audit_terms VALUES ('user:root', 27);
INSERT INTO audit_terms VALUES ('user:root', 29);
INSERT INTO audit_terms VALUES ('user:root', 30);
INSERT INTO audit_terms VALUES ('user:root', 31);
INSERT INTO audit_terms VALUES ('user:root', 32);
INSERT INTO audit_terms VALUES ('user:root', 33);
INSERT INTO audit_terms VALUES ('user:root', 37);
INSERT INTO audit_terms VALUES ('user:root', 40);
INSERT INTO audit_terms VALUES ('user:root', 41);
INSERT INTO audit_terms VALUES ('user:root', 42);
INSERT INTO audit_terms VALUES ('user:root', 43);
INSERT INTO audit_terms VALUES ('user:root', 44);
INSERT INTO audit_terms VALUES ('user:root', 45);
INSERT INTO audit_terms VALUES ('user:root', 48);
INSERT INTO audit_terms VALUES ('user:zoe@example.org via pusher', 15);
INSERT INTO audit_terms VALUES ('user:zoe@example.org via pusher', 16);
DELETE FROM sqlite_sequence;
INSERT INTO sqlite_sequence VALUES ('audit', 52);
INSERT INTO sqlite_sequence VALUES ('requests', 13);
INSERT INTO sqlite_sequence VALUES ('grants', 8);
CREATE INDEX grants_of_request ON grants (request_id);
CREATE INDEX open_grants ON grants (id) WHERE state IN ('opening', 'live');
CREATE INDEX requests_of_user ON requests (uid, id);
CREATE INDEX pending_requests ON requests (id) WHERE status = 'pending';
CREATE INDEX grants_by_start ON grants (number, start_wall);
CREATE INDEX idempotency_by_age ON idempotency (wall);
CREATE VIEW audit_terms_due (term, seq) AS
    SELECT 'event:' || event, seq FROM audit
    UNION ALL
    SELECT 'user:' || json_extract(detail, '$.requestor'), seq FROM audit
    WHERE json_valid(detail) AND json_type(detail, '$.requestor') = 'text'
    UNION ALL
    SELECT 'user:' || json_extract(detail, '$.by.name'), seq FROM audit
    WHERE json_valid(detail) AND json_type(detail, '$.by.name') = 'text'
    UNION ALL
    SELECT 'port:' || json_extract(detail, '$.number'), seq FROM audit
    WHERE json_valid(detail) AND json_type(detail, '$.number') = 'integer'
    UNION ALL
    SELECT 'port:' || json_extract(port.value, '$.number'), seq
    FROM audit, json_each(CASE WHEN json_valid(detail) THEN detail ELSE '{}' END, '$.ports') AS port
    WHERE port.type = 'object' AND json_type(port.value, '$.number') = 'integer';
CREATE TRIGGER audit_terms_added AFTER INSERT ON audit
WHEN NOT EXISTS (SELECT 1 FROM audit_terms WHERE term = 'event:' || NEW.event AND seq = NEW.seq) BEGIN
    INSERT OR IGNORE INTO audit_terms (term, seq) SELECT term, seq FROM audit_terms_due WHERE seq = NEW.seq;
END;
CREATE TRIGGER audit_terms_removed BEFORE DELETE ON audit BEGIN
    DELETE FROM audit_terms
    WHERE seq = OLD.seq AND term IN (SELECT CAST(term AS TEXT) FROM audit_terms_due WHERE seq = OLD.seq);
END;
CREATE INDEX audit_by_wall ON audit (wall);
COMMIT;
