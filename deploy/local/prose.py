"""Plausible people and articles: words to make them of, and the making. Same dice, same words."""

from random import Random

GIVEN = [
    "Ada",
    "Aisha",
    "Akira",
    "Alma",
    "Amara",
    "Anders",
    "Anil",
    "Anouk",
    "Beatriz",
    "Bela",
    "Bilal",
    "Carmen",
    "Chidi",
    "Chloe",
    "Daniel",
    "Dara",
    "Diego",
    "Elena",
    "Elif",
    "Emeka",
    "Emil",
    "Esther",
    "Farid",
    "Fatima",
    "Felix",
    "Freya",
    "Gita",
    "Grace",
    "Hana",
    "Hugo",
    "Ibrahim",
    "Ida",
    "Imani",
    "Ines",
    "Ivan",
    "Jamal",
    "Jonas",
    "Juno",
    "Kaito",
    "Kemal",
    "Kwame",
    "Laila",
    "Leo",
    "Lin",
    "Lucia",
    "Magnus",
    "Malik",
    "Maria",
    "Mateo",
    "Mei",
    "Mila",
    "Musa",
    "Nadia",
    "Naoko",
    "Nils",
    "Noor",
    "Olga",
    "Omar",
    "Paula",
    "Priya",
    "Quinn",
    "Rafael",
    "Rosa",
    "Samir",
    "Sanna",
    "Selma",
    "Sora",
    "Stella",
    "Tariq",
    "Tess",
    "Thabo",
    "Uma",
    "Vera",
    "Viktor",
    "Wanjiru",
    "Xenia",
    "Yara",
    "Yusuf",
    "Zainab",
    "Zoe",
]
FAMILY = [
    "Abe",
    "Achterberg",
    "Adeyemi",
    "Alvarez",
    "Andersen",
    "Bakker",
    "Banerjee",
    "Berg",
    "Castillo",
    "Chen",
    "Costa",
    "Dahl",
    "Diallo",
    "Dubois",
    "Eriksen",
    "Farouk",
    "Fischer",
    "Garcia",
    "Haddad",
    "Hansen",
    "Hoang",
    "Ibarra",
    "Ito",
    "Jansen",
    "Kaya",
    "Keller",
    "Khan",
    "Kim",
    "Kowalski",
    "Larsen",
    "Lopez",
    "Mbeki",
    "Meyer",
    "Moreau",
    "Nakamura",
    "Ndiaye",
    "Nguyen",
    "Novak",
    "Okafor",
    "Olsen",
    "Osman",
    "Patel",
    "Pereira",
    "Petrov",
    "Quispe",
    "Rahman",
    "Reyes",
    "Rossi",
    "Sato",
    "Schmidt",
    "Silva",
    "Singh",
    "Sorensen",
    "Suzuki",
    "Tanaka",
    "Torres",
    "Traore",
    "Usman",
    "Varga",
    "Vogel",
    "Wang",
    "Weber",
    "Yilmaz",
    "Zhang",
    "Zulu",
]
TOPICS = [
    "gardening",
    "sailing",
    "bread",
    "cities",
    "maps",
    "letters",
    "trains",
    "mountains",
    "chess",
    "photography",
    "astronomy",
    "rivers",
    "repair",
    "music",
    "language",
    "weaving",
    "bicycles",
    "libraries",
    "coffee",
    "birds",
    "pottery",
    "databases",
    "compilers",
    "typography",
    "running",
    "theatre",
    "forests",
    "harbours",
    "kites",
    "clocks",
]
_TITLES = (
    "What {topic} taught me about patience",
    "A beginner's guide to {topic}",
    "Notes on {topic}, after ten years",
    "{Topic} and the art of leaving things alone",
    "Why I came back to {topic}",
    "Five mistakes in {topic} that I made twice",
    "The quiet joy of {topic}",
    "How {topic} changed our town",
    "{Topic} without the jargon",
    "In defence of slow {topic}",
)
_LEADS = (
    "A short story with a long beginning.",
    "What worked, what did not, and what I would do again.",
    "For those who have no time, and for those who have nothing else.",
    "Written down before I forget it.",
    "With a list at the end, because everybody asks for one.",
)
_SENTENCES = (
    "Nobody tells you this at the start, and perhaps that is just as well.",
    "I kept a notebook for a year, and it shows mostly the weather.",
    "The old books disagree with each other, and the new ones agree too much.",
    "My neighbour, who knows everything about {topic}, only laughed.",
    "It takes longer than you think, even when you expect it to.",
    "We began on a Tuesday in March, with borrowed tools.",
    "There is a point where {topic} stops being work.",
    "The second attempt was worse, which is a good sign.",
    "If you can, find somebody who will tell you when to stop.",
    "Most of what I know I learned while waiting.",
    "The trick is not to hurry the part that looks like nothing.",
    "Some days the only progress is a clean table.",
)
_STEPS = (
    "Begin smaller than you want to.",
    "Write down what you did, and when.",
    "Ask one question a day.",
    "Leave it overnight.",
    "Give the first result away.",
    "Look at it from the other side.",
)
_REMARKS = (
    "Thank you, this is what I needed today.",
    "I tried it, and it worked at the third attempt.",
    "I see it differently, but you make a good case.",
    "Could you say more about the second part?",
    "My grandmother said the same about {topic}.",
    "Saved for the winter.",
)
_BIOS = (
    "Writes about {topic}, mostly before breakfast.",
    "Once an engineer, now mostly {topic}.",
    "Reads more than is good for anybody.",
    "{Topic}, long walks, short sentences.",
    "",
)


def _fill(dice: Random, phrases: tuple[str, ...], topic: str) -> str:
    return dice.choice(phrases).format(topic=topic, Topic=topic.capitalize())


def topic(dice: Random) -> str:
    """A subject; a few are far more popular than the rest, as tags are."""
    return TOPICS[min(int(dice.expovariate(0.18)), len(TOPICS) - 1)]


def person(dice: Random) -> tuple[str, str]:
    """A full name and a biography."""
    name = f"{dice.choice(GIVEN)} {dice.choice(FAMILY)}"
    return name, _fill(dice, _BIOS, topic(dice))


def title(dice: Random, subject: str) -> str:
    """A title about `subject`."""
    return _fill(dice, _TITLES, subject)


def lead(dice: Random) -> str:
    """A one-line description."""
    return dice.choice(_LEADS)


def markdown(dice: Random, subject: str) -> str:
    """The text of an article: headings, paragraphs, a quotation, a list, now and then code."""
    parts = [_paragraph(dice, subject), f"## {_fill(dice, _TITLES, subject)}"]
    parts += [_paragraph(dice, subject) for _ in range(dice.randint(1, 4))]
    parts.append(f"> {_fill(dice, _SENTENCES, subject)}")
    steps = dice.sample(_STEPS, dice.randint(3, 5))
    parts.append("\n".join(f"{number}. {step}" for number, step in enumerate(steps, start=1)))
    if dice.random() < 0.2:
        parts.append(f"```python\nfor {subject[0]} in {subject}:\n    wait({subject[0]})\n```")
    parts.append(f"*{_fill(dice, _SENTENCES, subject)}*")
    return "\n\n".join(parts)


def _paragraph(dice: Random, subject: str) -> str:
    return " ".join(_fill(dice, _SENTENCES, subject) for _ in range(dice.randint(3, 6)))


def remark(dice: Random, subject: str) -> str:
    """A comment on an article about `subject`."""
    return _fill(dice, _REMARKS, subject)
