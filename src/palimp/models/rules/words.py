"""Words the grammar knows: trades, relations, verbs of the past, and how people are written of."""

from __future__ import annotations

__all__ = [
    "DEMONYM_ENDINGS",
    "EXCLUSIVE",
    "NO_NAMES",
    "OCCUPATIONS",
    "PAST_VERBS",
    "RELATIONS_MANY",
    "RELATIONS_ONE",
    "SOFT_ROLES",
]

OCCUPATIONS = frozenset(
    """
    accountant actor actress administrator advisor agent analyst anesthesiologist architect
    archivist artist assistant astronomer attorney auditor author baker banker barber barista
    bartender biologist bookkeeper broker builder butcher buyer captain caregiver carpenter
    cashier ceo cfo chef chemist chiropractor cleaner coach comedian composer consultant
    contractor controller cook coordinator copywriter coo counselor counsellor cto curator
    dancer dentist designer detective developer dietitian director doctor driver economist
    editor electrician engineer entrepreneur estimator executive farmer firefighter fisherman
    florist founder freelancer gardener geologist hairdresser head historian housekeeper
    hygienist illustrator inspector instructor intern interpreter inventor investigator janitor
    jeweler journalist judge laborer lawyer lecturer librarian lifeguard linguist locksmith
    machinist magician maintainer manager marketer mason mathematician mechanic mediator
    meteorologist midwife miner model musician nanny negotiator novelist nurse nutritionist
    officer operator optician optometrist painter paralegal paramedic pathologist pediatrician
    pharmacist photographer physician physicist physiotherapist pianist pilot planner plumber
    podcaster poet policeman politician postdoc president principal producer professor
    programmer psychiatrist psychologist publisher radiologist realtor receptionist recruiter
    reporter representative researcher retiree salesman salesperson scientist sculptor secretary
    singer soldier statistician streamer strategist student surgeon surveyor tailor teacher
    technician therapist trader trainer translator trucker tutor veterinarian vet videographer
    vp waiter waitress welder writer
    """.split()
)
# What people are beside their trade, and several of at a time.
SOFT_ROLES = frozenset(
    "actor actress artist author baker coach comedian composer cook dancer designer farmer founder "
    "gardener inventor model musician novelist painter photographer pianist podcaster poet singer "
    "streamer student trainer tutor writer president captain builder".split()
)
RELATIONS_ONE = (
    "wife husband spouse partner girlfriend boyfriend fiancé fiancée fiance fiancee mother mom mum "
    "father dad boss manager supervisor landlord".split()
)
RELATIONS_MANY = (
    "son daughter brother sister friend cousin uncle aunt nephew niece grandmother grandfather "
    "grandma grandpa roommate flatmate colleague coworker neighbor neighbour therapist doctor "
    "dentist mentor stepson stepdaughter dog cat puppy kitten hamster parrot horse rabbit turtle "
    "bird".split()
)
# Capitalised, and yet not somebody's name.
NO_NAMES = frozenset(
    """I Monday Tuesday Wednesday Thursday Friday Saturday Sunday January February March April June
    July August September October November December Christmas Easter God The My We It Is Was Has And
    But So CEO CTO CFO VP Head Director English Spanish French German""".split()
)
DEMONYM_ENDINGS = ("ian", "ean", "ican", "ish", "ese", "erman", "utch", "rench", "reek", "wiss")
PAST_VERBS = frozenset(
    """went had got took saw met made bought came did gave ran won lost found left told wrote read
    drove flew rode swam sang spoke stood taught thought threw wore woke built began became broke
    brought caught chose drew drank ate fell felt fought forgot grew held hit hurt kept knew led
    lent paid put quit rang sold sent set shot slept spent stole stuck heard cut cooked beat bit
    blew hung hid laid lit meant rose sat understood underwent withdrew signed""".split()
)
# Values of which one excludes the other: preferring another one is a change of mind.
EXCLUSIVE = (
    ("seat", r"(?:an? |the )?(window|aisle|middle)(?: seats?)?"),
    ("theme", r"(?:a |the )?(dark|light)(?: mode| themes?)"),
    ("units", r"(metric|imperial)(?: units?| system| measurements?)?"),
    ("temperature_unit", r"(celsius|fahrenheit)"),
    ("indentation", r"(tabs|spaces)"),
    ("clock", r"(?:a |the )?(12|24)[- ]hour (?:clock|time|format)"),
    ("appointment_time", r"(morning|afternoon|evening) (?:appointments|meetings|calls|flights)"),
    ("class", r"(?:flying )?(economy|business|first)(?: class)"),
    ("contact_channel", r"(?:being contacted |to be contacted )(?:by|via|over|through) (\w+)"),
    ("room_floor", r"(?:a room on |rooms on )?(?:a |the )?(high|low|ground)(?:er)? floors?"),
    ("diet_milk", r"(oat|almond|soy|whole|skim|coconut) milk"),
)
