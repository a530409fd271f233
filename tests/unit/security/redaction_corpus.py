"""What is a secret or somebody's data, and what only looks like it.

Tokens are put together from pieces, so that nobody who looks through this repository for tokens
takes these for some.
"""

A36 = "1a2B3c4D5e6F7g8H9i0J1k2L3m4N5o6P7q8R"
HEX40 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b"
AWS = "AKIA" + "IOSFODNN7EXAMPLE"
JWT = "eyJ" + "hbGciOiJFZERTQSJ9." + "eyJ" + "zdWIiOiJhbGljZSJ9." + "c2lnbmF0dXJl_-x"
PEM = "-----BEGIN {kind}PRIVATE KEY-----\n" + "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n" * 3
PEM_END = "-----END {kind}PRIVATE KEY-----"

# Text, and what it is redacted to.
POSITIVES: list[tuple[str, str]] = [
    # -- private_key
    (PEM.format(kind="") + PEM_END.format(kind=""), "[private_key]"),
    (PEM.format(kind="RSA ") + PEM_END.format(kind="RSA "), "[private_key]"),
    ("a " + PEM.format(kind="EC ") + PEM_END.format(kind="EC ") + " b", "a [private_key] b"),
    (PEM.format(kind="OPENSSH ") + "and no end", "[private_key]\nand no end"),
    (PEM.format(kind="DSA ").replace("\n", "\\n") + "and no end", "[private_key]\\nand no end"),
    ("-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nlQ\n-----END PGP X-----", "[private_key]"),
    ("it begins with -----BEGIN ENCRYPTED PRIVATE KEY----- always", "it begins with [private_key] always"),
    # -- url_credentials
    ("postgres://app:hunter2@db.local:5432/x", "postgres://[url_credentials]@db.local:5432/x"),
    ("redis://:p4ss@cache:6379", "redis://[url_credentials]@cache:6379"),
    ("https://me:x%40y@git.example.org/r.git", "https://[url_credentials]@git.example.org/r.git"),
    ("amqp://u:p@[::1]:5672", "amqp://[url_credentials]@[::1]:5672"),
    ("mongodb+srv://root:toor@c0.example.net", "mongodb+srv://[url_credentials]@c0.example.net"),
    # -- aws_key
    (f"my key is {AWS}", "my key is [aws_key]"),
    ("ASIA" + "Y34FZKBOKMUTVV7A expired", "[aws_key] expired"),
    ("ids: ABIA" + "0123456789ABCDEF, ok", "ids: [aws_key], ok"),
    ("ACCA" + "ZZZZZZZZZZZZZZZZ", "[aws_key]"),
    # -- github_token
    ("gh" + "p_" + A36, "[github_token]"),
    ("use gh" + "s_" + A36 + " for CI", "use [github_token] for CI"),
    ("gh" + "o_" + A36 + ".", "[github_token]."),
    ("github" + "_pat_11ABCDEFG0" + A36, "[github_token]"),
    # -- slack_token
    ("xox" + "b-123456789012-abcDEF", "[slack_token]"),
    ("xox" + "p-9876543210-x", "[slack_token]"),
    ("xapp" + "-1-A012ABCDEF-98765", "[slack_token]"),
    ("post to https://hooks.slack.com/services/" + "T01234567/B01234567/abcdef", "post to https://[slack_token]"),
    # -- stripe_key
    ("sk_" + "live_4eC39HqLyjWDarjtT1zdp7dc", "[stripe_key]"),
    ("rk_" + "test_4eC39HqLyjWDarjtT1zdp7dc!", "[stripe_key]!"),
    ("whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "[stripe_key]"),
    # -- sk_key
    ("sk-" + "proj-" + A36, "[sk_key]"),
    ("sk-" + "ant-api03-" + A36 + "-AA", "[sk_key]"),
    ("OPENAI=sk-" + A36, "OPENAI=[sk_key]"),
    # -- google_key
    ("AIza" + "SyD-1234567890abcdefghijklmnopqrstu", "[google_key]"),
    ("?key=AIza" + "SyA_1234567890ABCDEFGHIJKLMNOPQRSTU&x=1", "?key=[google_key]&x=1"),
    # -- jwt
    (JWT, "[jwt]"),
    (f"token {JWT} expired", "token [jwt] expired"),
    # -- bearer_token
    ("Authorization: Bearer abc123def456", "Authorization: Bearer [bearer_token]"),
    ("authorization: bearer opaquetoken", "authorization: bearer [bearer_token]"),
    ('"Authorization": "Bearer opaque"', '"Authorization": "Bearer [bearer_token]"'),
    ("curl -H 'Bearer 0a1b2c3d4e'", "curl -H 'Bearer [bearer_token]'"),
    ("send Bearer mF_9.B5f-4.1JqM==", "send Bearer [bearer_token]"),
    # -- password_assign
    ("password=supersecret123", "password=[password_assign]"),
    ("Password: hunter2.", "Password: [password_assign]."),
    ("the wifi password: swordfish", "the wifi password: [password_assign]"),
    ("passwd = 'two words'", "passwd = '[password_assign]'"),
    ('{"password": "a \\"b\\" c", "x": 1}', '{"password": "[password_assign]", "x": 1}'),
    ("DB_PASSWORD=p@ss,word host=x", "DB_PASSWORD=[password_assign] host=x"),
    ("client_secret: 7fjfp0ZBr1KtDRbnfVdmIw", "client_secret: [password_assign]"),
    ("secret=x1", "secret=[password_assign]"),
    ('secret: "never give up"', 'secret: "[password_assign]"'),
    ("pwd := letmein", "pwd := [password_assign]"),
    ("passphrase => correct-horse", "passphrase => [password_assign]"),
    ("(password: abc)", "(password: [password_assign])"),
    ("PASSWORD:Zürich7", "PASSWORD:[password_assign]"),
    # -- key_assign
    (f"api_key = {HEX40}", "api_key = [key_assign]"),
    (f'"apiKey": "{A36}"', '"apiKey": "[key_assign]"'),
    (f"AWS_SECRET_ACCESS_KEY={A36}/x", "AWS_SECRET_ACCESS_KEY=[key_assign]"),
    (f"access token: {A36}", "access token: [key_assign]"),
    (f"service-key: {HEX40}.", "service-key: [key_assign]"),
    (f"REFRESH_TOKEN='{A36}'", "REFRESH_TOKEN='[key_assign]'"),
    # -- email
    ("contact me at alice@example.com please", "contact me at [email] please"),
    ("bob.o'hara+news@mail.example.co.uk", "[email]"),
    ("<carol@example.org>, 'dan@example.org'", "<[email]>, '[email]'"),
    ("mailto:erin@sub-domain.example.net?subject=x", "mailto:[email]?subject=x"),
    ("write to frank@example.io.", "write to [email]."),
    ("müller@bücher.de", "[email]"),
    ("a@b.co;c@d.eu", "[email];[email]"),
    ("邮箱:li.wei@example.cn。", "邮箱:[email]。"),
    ("x_y%z@example.museum", "[email]"),
    ("owner=grace@example.com-old", "owner=[email]-old"),
    # -- iban
    ("GB82 WEST 1234 5698 7654 32", "[iban]"),
    ("DE89370400440532013000", "[iban]"),
    ("pay to FR14 2004 1010 0505 0001 3M02 606 today", "pay to [iban] today"),
    ("NL91ABNA0417164300, thanks", "[iban], thanks"),
    ("CH93 0076 2011 6238 5295 7 OK", "[iban] OK"),
    ("MT84MALT011000012345MTLCAST001S", "[iban]"),
    ("NO9386011117947", "[iban]"),
    # -- phone
    ("call 555-867-5309 anytime", "call [phone] anytime"),
    ("(555) 867-5309", "[phone]"),
    ("(555)867-5309", "[phone]"),
    ("555.867.5309", "[phone]"),
    ("555 867 5309", "[phone]"),
    ("1-800-555-0199", "[phone]"),
    ("+1 555 867 5309", "[phone]"),
    ("+1-555-867-5309", "[phone]"),
    ("+15558675309", "[phone]"),
    ("+44 20 7946 0958", "[phone]"),
    ("+44 (0)20 7946 0958", "[phone]"),
    ("+49 30 1234567", "[phone]"),
    ("+49 (0) 171 2345678", "[phone]"),
    ("+33 1 23 45 67 89", "[phone]"),
    ("+919876543210", "[phone]"),
    ("tel: 0171/2345678", "tel: [phone]"),
    ("Telefon 030 1234567", "Telefon [phone]"),
    ("my phone number is 5551234567", "my phone number is [phone]"),
    ("mobile: 07700 900123", "mobile: [phone]"),
    ("WhatsApp 01 23 45 67 89", "WhatsApp [phone]"),
    ("fax no. 555 0100 22", "fax no. [phone]"),
    # -- ssn
    ("SSN is 123-45-6789", "SSN is [ssn]"),
    ("078-05-1120", "[ssn]"),
    ("ssn:219-09-9999;", "ssn:[ssn];"),
    # -- card
    ("4111 1111 1111 1111", "[card]"),
    ("4111111111111111", "[card]"),
    ("4111-1111-1111-1111 exp 12/29", "[card] exp 12/29"),
    ("5500 0000 0000 0004", "[card]"),
    ("2221000000000009", "[card]"),
    ("3782 822463 10005", "[card]"),
    ("378282246310005", "[card]"),
    ("6011111111111117", "[card]"),
    ("30569309025904", "[card]"),
    ("3530111333300000", "[card]"),
    ("card=4242424242424242, cvc 123", "card=[card], cvc 123"),
    ("4222222222222", "[card]"),
    # -- several
    ("email alice@example.com phone 555-123-4567", "email [email] phone [phone]"),
    ("postgres://u:alice@example.com/db", "postgres://[url_credentials]@example.com/db"),
    ("123-45-6789 and 4111111111111111", "[ssn] and [card]"),
    ("password=alice@example.com", "password=[password_assign]"),
    ("😀 alice@example.com 😀 555-867-5309", "😀 [email] 😀 [phone]"),
]  # fmt: skip

NEGATIVES: list[str] = """
I prefer Rust over Python for systems programming
2026-03-02
2026-03-02T08:41:00Z
2026-03-02 08:41:00.123456+00:00
2026-03-02T08:41:00+02:00
20260302084100
02.03.2026
03/02/2026 10:15
1767225600
1767225600000
1767225600000000
1767225600000000000
txid 0000000000000042
txid 9007199254740991
4503599627370495
segment 0000000000000001-00000000000000ff-3-9f86d081.ltx
9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
commit 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b
9f86d08
0x7ffee4bff8c0
123e4567-e89b-12d3-a456-426614174000
00000000-0000-4000-8000-000000000000
01ARZ3NDEKTSV4RRFFQ69G5FAV
018f3b2c7d1e7a0c9b8d4e5f60718293
1541815603606036480
version 12.1.0
v1.22.333.4444
release 2024.10.1
python 3.11.9, sqlite 3.45.1
10.0.19045.3803
ISBN 978-3-16-148410-0
ISBN 9783161484100
EAN 4006381333931
DOI 10.1000/182
arXiv:2310.06825
RFC 3339
costs 1,299.00 EUR
$12,345,678.90
1.234.567,89
1 234 567 890
USD 1000000000
3.14159265358979323846
0.4111111111111111
6.02214076e23
-4111111111111111x
phone 15 pro max
iPhone 15 2024
the phone: 2024-01-05 12:00
Telefonica 2024
cell 12
cell A1:B20
mobile 4.2.1
192.168.1.1
10.0.0.1:8080
255.255.255.255
2001:0db8:85a3:0000:0000:8a2e:0370:7334
127.0.0.1 localhost
00:1B:44:11:3A:B7
port 5432
pages 100-200
sizes 100 200 300
800x600
1920 x 1080
dimensions 300x400x500
1-2-3-4-5
123-456
123-45-678
1234-56-7890
000-12-3456
666-12-3456
900-12-3456
123-00-4567
123-45-0000
AB-123-45-6789
555-8675
5551234567
1234567890
12345678901
4111 1111 1111 1112
4111111111111112
1234 5678 9012 3456
1234567890123456
9999999999999999
0000 0000 0000 0000
order 8834567890123456
order #4111111111111112
411111111111
41111111111111111111
tracking 1Z999AA10123456784
9400 1000 0000 0000 0000 00
lat 48.858844, lon 2.294351
48.8588443,2.2943506
-122.4194155
score 0.91 share 0.37
1e-10
icon@2x.png
logo@3x.webp
pkg@1.2.3
react@18.2.0
npm i left-pad@1.3.0
git@github.com:owner/repo.git
user@localhost
alice at example dot com
@alice
@alice.bob
a @ b . c
x@y
foo@bar@
@decorator.method
mail me @ noon
E = mc @ 2
name--profile@branch
SELECT @a.b
GB82 WEST 1234 5698 7654 33
DE00370400440532013000
XX82WEST12345698765432
AB12 CDEF
IBAN is a number
the password was changed yesterday
a password must have 12 characters
password:
password = None
password = ""
password: str
password: Optional[str] = None
password=${DB_PASSWORD}
password=$DB_PASSWORD
password={{ secrets.db }}
password=<your password>
password=********
password: [password_assign]
password=os.environ["DB"]
password=get_password()
password=config.password
password=password
if password == expected:
--password-stdin
forgot password?
the secret: never give up
Secret: Santa
secret = None
the secret of the house
a bearer of good news
Bearer token
Bearer authentication is used
bearer of 12 cups
Authorization: Bearer <token>
Authorization: Bearer $TOKEN
Authorization: Basic
Bearer [bearer_token]
api_key = YOUR_API_KEY_HERE
api_key: required
api key: see the wiki page
API_KEY=changeme
access_token=access-token-of-the-service
secret_key = settings.secret_key
key: value
keyboard: qwertyuiopasdfghjklzxcvbnm
token: the smallest unit
tokens 1234567890 of 2000000000
public key: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI
-----BEGIN PUBLIC KEY-----
-----BEGIN CERTIFICATE-----
BEGIN PRIVATE KEY
AKIA
AKIAlowercaseisnokey00
Asia and Africa
ASIAN markets
ghp_short
github_pat_
gh pr list
xoxo-love
xoxb-
sk-learn
sk-circle-fade-dot-animation-large
task-1234567890abcdef1234
sk_live_
pk_live_4eC39HqLyjWDarjtT1zdp7dc
AIzaShort
eyJhbGciOiJub25lIn0
eyJ.eyJ.x
hey.eyJab.cd
https://example.com/a:b@c
https://example.com:8080/x@y
http://user@example.com:80
https://user:${PASS}@host/x
ftp://host/path
see http://localhost:8080/docs
time 10:15:30
1:2:3:4
+1
+1 more
+100 points
+12345
+1.50
+10000000 views
A+B 12345678
C++ 20
diff +1234567
++1234567890
[email] and [phone]
[card]
""".strip().splitlines()
