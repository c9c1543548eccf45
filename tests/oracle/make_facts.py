#!/usr/bin/env python3
"""Writes tests/data/facts/known_facts.jsonl and many_facts.jsonl: facts that the embedded model answers rightly, for the
tables of docs/editing.md.

    make_facts.py LANCET MODEL_DIR

Candidates are public knowledge in ten relations. A fact is kept when the model's greedy text begins with the true answer
on its prompt and on two of its paraphrases; neighbours (five) and leak prompts (the rest of the relation, up to ten) are
other subjects of the relation on which the model is right. The new target is another answer of the relation.

many_facts.jsonl is for editing all of its facts in one batch: more relations, more subjects, and none of the neighbours
and leak prompts is about a subject that another record of the file edits.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

OUT = pathlib.Path(__file__).resolve().parent.parent / "data" / "facts"
PER_RELATION = 4
MANY_PER_RELATION = 8

# relation: (prompt, paraphrases, {subject: answer})
RELATIONS = {
    "capital": ("The capital of {} is", ["The capital city of {} is", "What is the capital of {}? The capital of {} is",
                                         "The name of the capital of {} is"],
                {"France": "Paris", "Germany": "Berlin", "Italy": "Rome", "Japan": "Tokyo", "Egypt": "Cairo", "Russia": "Moscow",
                 "Greece": "Athens", "Poland": "Warsaw", "Norway": "Oslo", "Austria": "Vienna", "Portugal": "Lisbon",
                 "Ireland": "Dublin", "Cuba": "Havana", "Hungary": "Budapest", "Iran": "Tehran", "Peru": "Lima",
                 "Thailand": "Bangkok", "Romania": "Bucharest", "Kenya": "Nairobi", "Finland": "Helsinki"}),
    "country": ("{} is a city in the country of", ["{} is located in the country of", "The city of {} is in the country of",
                                                   "{} is a city located in the country of"],
                {"Munich": "Germany", "Osaka": "Japan", "Marseille": "France", "Milan": "Italy", "Shanghai": "China",
                 "Barcelona": "Spain", "Hamburg": "Germany", "Lyon": "France", "Naples": "Italy", "Mumbai": "India",
                 "Toronto": "Canada", "Sydney": "Australia", "Seville": "Spain", "Calgary": "Canada", "Leipzig": "Germany",
                 "Beijing": "China", "Delhi": "India", "Krakow": "Poland", "Lima": "Peru"}),
    "continent": ("{} is located in the continent of", ["{} is a country in the continent of", "The country of {} is in the continent of",
                                                        "{} lies on the continent of"],
                  {"Kenya": "Africa", "Nigeria": "Africa", "Vietnam": "Asia", "Thailand": "Asia", "Germany": "Europe",
                   "Poland": "Europe", "France": "Europe", "China": "Asia", "Japan": "Asia", "Ghana": "Africa", "Morocco": "Africa",
                   "Spain": "Europe", "Sweden": "Europe", "Ethiopia": "Africa", "Nepal": "Asia", "Zambia": "Africa"}),
    "language": ("The official language of {} is", ["The language spoken in {} is", "The main language of {} is",
                                                    "The national language of {} is"],
                 {"Mexico": "Spanish", "Brazil": "Portuguese", "Italy": "Italian", "Germany": "German", "France": "French",
                  "Russia": "Russian", "Japan": "Japanese", "Argentina": "Spanish", "Egypt": "Arabic", "Turkey": "Turkish",
                  "Poland": "Polish", "Greece": "Greek", "Portugal": "Portuguese", "Cuba": "Spanish", "Iraq": "Arabic",
                  "Thailand": "Thai", "Sweden": "Swedish", "Peru": "Spanish", "Morocco": "Arabic"}),
    "animal": ("The {} is a type of", ["A {} is a kind of", "A {} is a type of", "The {} is a species of"],
               {"eagle": "bird", "salmon": "fish", "crocodile": "reptile", "owl": "bird", "hawk": "bird", "trout": "fish",
                "lizard": "reptile", "tuna": "fish", "parrot": "bird", "turtle": "reptile", "robin": "bird", "cod": "fish",
                "pigeon": "bird", "penguin": "bird", "falcon": "bird", "python": "snake", "cobra": "snake"}),
    "opposite": ("The opposite of {} is", ["The antonym of {} is", "What is the opposite of {}? The opposite of {} is",
                                           "The word that means the opposite of {} is"],
                 {"hot": "cold", "big": "small", "good": "bad", "light": "dark", "fast": "slow", "happy": "sad", "up": "down",
                  "love": "hate", "old": "young", "black": "white", "life": "death", "strong": "weak", "day": "night",
                  "left": "right", "success": "failure", "positive": "negative"}),
    "symbol": ("The chemical symbol for {} is", ["The symbol of the element {} is", "The chemical symbol of {} is",
                                                 "On the periodic table, the symbol for {} is"],
               {"gold": "Au", "silver": "Ag", "sodium": "Na", "oxygen": "O", "carbon": "C", "hydrogen": "H", "helium": "He",
                "nitrogen": "N", "copper": "Cu", "lead": "Pb", "calcium": "Ca", "potassium": "K", "zinc": "Zn", "aluminum": "Al"}),
    "state": ("{} is a city in the state of", ["{} is located in the state of", "The city of {} is in the state of",
                                               "{} is a city in the US state of"],
              {"Houston": "Texas", "Miami": "Florida", "Phoenix": "Arizona", "Seattle": "Washington", "Austin": "Texas",
               "Orlando": "Florida", "Denver": "Colorado", "Chicago": "Illinois", "Tampa": "Florida", "Atlanta": "Georgia",
               "Tucson": "Arizona", "San Diego": "California", "Cleveland": "Ohio", "Boston": "Massachusetts",
               "Los Angeles": "California", "San Antonio": "Texas"}),
    "sport": ("{} is a famous player of the sport of", ["{} became famous by playing the sport of", "{} is a professional player of the sport of",
                                                        "The sport that {} plays is"],
              {"Michael Jordan": "basketball", "LeBron James": "basketball", "Serena Williams": "tennis", "Roger Federer": "tennis",
               "Babe Ruth": "baseball", "Tiger Woods": "golf", "Rafael Nadal": "tennis", "Kobe Bryant": "basketball",
               "Magic Johnson": "basketball", "Derek Jeter": "baseball", "Tom Brady": "football", "Larry Bird": "basketball",
               "Joe Montana": "football", "Wayne Gretzky": "hockey"}),
    "landmark": ("{} is located in the city of", ["{} can be found in the city of", "{} is a landmark in the city of",
                                                  "{} stands in the city of"],
                 {"The Colosseum": "Rome", "Big Ben": "London", "The Statue of Liberty": "New York", "The Louvre": "Paris",
                  "The British Museum": "London", "The Empire State Building": "New York", "Buckingham Palace": "London",
                  "The Golden Gate Bridge": "San Francisco", "The Tower of London": "London", "The Brandenburg Gate": "Berlin",
                  "The Pantheon": "Rome", "The Kremlin": "Moscow", "Notre Dame": "Paris", "The Space Needle": "Seattle"}),
}

# Further subjects of these relations, and further relations, for many_facts.jsonl.
MORE_SUBJECTS = {
    "capital": {"Spain": "Madrid", "China": "Beijing", "India": "New Delhi", "Belgium": "Brussels", "Denmark": "Copenhagen",
                "Sweden": "Stockholm", "Turkey": "Ankara", "Iraq": "Baghdad", "Syria": "Damascus", "Chile": "Santiago",
                "Argentina": "Buenos Aires", "Ukraine": "Kiev", "Bulgaria": "Sofia", "Serbia": "Belgrade", "Lebanon": "Beirut",
                "Jordan": "Amman", "Afghanistan": "Kabul", "Nepal": "Kathmandu", "Morocco": "Rabat", "Ethiopia": "Addis Ababa"},
    "country": {"Venice": "Italy", "Florence": "Italy", "Kyoto": "Japan", "Bordeaux": "France", "Manchester": "England",
                "Liverpool": "England", "Stuttgart": "Germany", "Cologne": "Germany", "Frankfurt": "Germany", "Valencia": "Spain",
                "Melbourne": "Australia", "Vancouver": "Canada", "Montreal": "Canada", "Istanbul": "Turkey", "Kolkata": "India",
                "Guangzhou": "China", "Rio de Janeiro": "Brazil", "Cape Town": "South Africa"},
    "continent": {"Italy": "Europe", "Greece": "Europe", "Norway": "Europe", "India": "Asia", "Pakistan": "Asia", "Mongolia": "Asia",
                  "Uganda": "Africa", "Tanzania": "Africa", "Algeria": "Africa", "Peru": "South America", "Chile": "South America",
                  "Bolivia": "South America", "Austria": "Europe", "Hungary": "Europe", "Cambodia": "Asia", "Senegal": "Africa"},
    "language": {"Spain": "Spanish", "Chile": "Spanish", "Colombia": "Spanish", "Venezuela": "Spanish", "China": "Chinese",
                 "Korea": "Korean", "Vietnam": "Vietnamese", "Iran": "Persian", "Saudi Arabia": "Arabic", "Syria": "Arabic",
                 "Norway": "Norwegian", "Denmark": "Danish", "Finland": "Finnish", "Hungary": "Hungarian", "Romania": "Romanian",
                 "Bulgaria": "Bulgarian", "Ukraine": "Ukrainian", "Austria": "German", "Angola": "Portuguese"},
    "animal": {"sparrow": "bird", "crow": "bird", "swan": "bird", "goose": "bird", "ostrich": "bird", "shark": "fish",
               "catfish": "fish", "carp": "fish", "frog": "amphibian", "toad": "amphibian", "salamander": "amphibian",
               "ant": "insect", "bee": "insect", "beetle": "insect", "butterfly": "insect", "alligator": "reptile", "whale": "mammal",
               "dolphin": "mammal", "bat": "mammal"},
    "opposite": {"high": "low", "long": "short", "rich": "poor", "true": "false", "win": "lose", "open": "closed", "hard": "soft",
                 "wet": "dry", "full": "empty", "early": "late", "north": "south", "east": "west", "heavy": "light", "war": "peace",
                 "inside": "outside", "right": "wrong", "buy": "sell", "push": "pull", "male": "female", "increase": "decrease"},
    "symbol": {"iron": "Fe", "tin": "Sn", "neon": "Ne", "sulfur": "S", "chlorine": "Cl", "magnesium": "Mg", "silicon": "Si",
               "mercury": "Hg", "nickel": "Ni", "iodine": "I", "fluorine": "F", "phosphorus": "P", "lithium": "Li", "uranium": "U"},
    "state": {"Dallas": "Texas", "Detroit": "Michigan", "Philadelphia": "Pennsylvania", "Pittsburgh": "Pennsylvania",
              "Portland": "Oregon", "Las Vegas": "Nevada", "Memphis": "Tennessee", "Nashville": "Tennessee", "Milwaukee": "Wisconsin",
              "San Francisco": "California", "Sacramento": "California", "Jacksonville": "Florida", "Albuquerque": "New Mexico",
              "Minneapolis": "Minnesota", "Cincinnati": "Ohio", "Salt Lake City": "Utah", "Anchorage": "Alaska"},
    "sport": {"Pele": "football", "Lionel Messi": "football", "Shaquille O'Neal": "basketball", "Andre Agassi": "tennis",
              "Venus Williams": "tennis", "Novak Djokovic": "tennis", "Mickey Mantle": "baseball", "Hank Aaron": "baseball",
              "Peyton Manning": "football", "Joe Namath": "football", "Steffi Graf": "tennis", "Kevin Durant": "basketball",
              "Stephen Curry": "basketball", "Jack Nicklaus": "golf", "Arnold Palmer": "golf", "Phil Mickelson": "golf"},
    "landmark": {"Central Park": "New York", "Times Square": "New York", "Westminster Abbey": "London", "Hyde Park": "London",
                 "Trafalgar Square": "London", "The Parthenon": "Athens", "The Acropolis": "Athens", "Red Square": "Moscow",
                 "The White House": "Washington", "The Lincoln Memorial": "Washington", "Madison Square Garden": "New York",
                 "The Sistine Chapel": "Rome", "The Trevi Fountain": "Rome", "Broadway": "New York", "Wall Street": "New York",
                 "The Champs-Elysees": "Paris", "The Arc de Triomphe": "Paris", "The Sagrada Familia": "Barcelona"},
}
MORE_RELATIONS = {
    "plural": ("The plural of {} is", ["The plural form of {} is", "The plural of the word {} is", "The plural of the noun {} is"],
               {"child": "children", "man": "men", "woman": "women", "foot": "feet", "tooth": "teeth", "mouse": "mice",
                "goose": "geese", "cat": "cats", "dog": "dogs", "box": "boxes", "leaf": "leaves", "wolf": "wolves", "city": "cities",
                "knife": "knives", "baby": "babies", "book": "books", "house": "houses", "tree": "trees"}),
    "past": ("The past tense of {} is", ["The past tense of the verb {} is", "The past tense form of {} is",
                                         "The simple past tense of {} is"],
             {"go": "went", "eat": "ate", "run": "ran", "see": "saw", "write": "wrote", "take": "took", "give": "gave",
              "speak": "spoke", "sing": "sang", "swim": "swam", "drive": "drove", "know": "knew", "think": "thought",
              "buy": "bought", "fall": "fell", "come": "came", "begin": "began", "drink": "drank"}),
    "author": ("The author of {} is", ["{} was written by", "The writer of {} is", "The name of the author of {} is"],
               {"Hamlet": "William Shakespeare", "Macbeth": "William Shakespeare", "Romeo and Juliet": "William Shakespeare",
                "Pride and Prejudice": "Jane Austen", "Emma": "Jane Austen", "Oliver Twist": "Charles Dickens",
                "Great Expectations": "Charles Dickens", "A Tale of Two Cities": "Charles Dickens", "War and Peace": "Leo Tolstoy",
                "Anna Karenina": "Leo Tolstoy", "The Great Gatsby": "F. Scott Fitzgerald", "Animal Farm": "George Orwell",
                "The Odyssey": "Homer", "The Iliad": "Homer", "Moby Dick": "Herman Melville", "Othello": "William Shakespeare",
                "King Lear": "William Shakespeare", "The Republic": "Plato", "Sense and Sensibility": "Jane Austen"}),
    "currency": ("The currency of {} is the", ["The official currency of {} is the", "The currency used in {} is the",
                                               "The national currency of {} is the"],
                 {"Japan": "yen", "China": "yuan", "India": "Indian rupee", "Mexico": "peso", "Germany": "euro", "France": "euro",
                  "Italy": "euro", "Spain": "euro", "Greece": "euro", "Ireland": "euro", "Thailand": "baht", "Russia": "ruble",
                  "Turkey": "Turkish lira", "Austria": "euro", "Finland": "euro", "Portugal": "euro", "Cuba": "peso", "Chile": "peso",
                  "Argentina": "peso", "Philippines": "peso"}),
}


def ask(lancet, model, prompts):
    """Greedy text of six tokens after each prompt."""
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        file.writelines(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts)
        file.flush()
        out = subprocess.run([lancet, "generate", model, "--file", file.name, "--max-tokens", "6", "--json", "--no-progress"],
                             check=True, capture_output=True, text=True).stdout
    return [json.loads(line)["text"] for line in out.splitlines()]


def begins(text, answer):
    rest = text.removeprefix(" " + answer)
    return rest != text and not rest[:1].isalpha()


def known_subjects(relation, lancet, model):
    """Subjects that the model answers rightly on the prompt, and by each template."""
    prompt, paraphrases, known = relation
    right = {}
    for template in [prompt, *paraphrases]:
        texts = ask(lancet, model, [template.replace("{}", subject) for subject in known])
        right[template] = {subject for (subject, answer), text in zip(known.items(), texts) if begins(text, answer)}
    return [subject for subject in known if subject in right[prompt]], right


def facts_of(name, relation, lancet, model):
    prompt, paraphrases, known = relation
    sure, right = known_subjects(relation, lancet, model)
    answers = list(dict.fromkeys(known[subject] for subject in sure))
    facts = []
    for subject in sure:
        used = [p for p in paraphrases if subject in right[p]][:2]
        others = [s for s in sure if s != subject]
        if len(used) < 2 or len(others) < 5 or len(facts) == PER_RELATION:
            continue
        # The next answer of the relation that nobody among the neighbours gives.
        place = answers.index(known[subject])
        target = answers[(place + 1 + len(facts)) % len(answers)]
        if target == known[subject]:
            target = answers[(place + 1) % len(answers)]
        neighbors = [s for s in others if known[s] != target][:5]
        leak = [s for s in others if known[s] != target and s not in neighbors][:10]
        if len(neighbors) < 5:
            continue
        facts.append({"id": f"{name}-{len(facts)}", "subject": subject, "prompt": prompt, "target": target, "true": known[subject],
                      "paraphrases": [p.replace("{}", subject) for p in used],
                      "neighbors": [{"prompt": prompt.replace("{}", s), "answer": known[s]} for s in neighbors],
                      "leak": [prompt.replace("{}", s) for s in [*neighbors, *leak]]})
    return facts


def many_facts_of(name, relation, lancet, model):
    """Facts whose neighbours and leak prompts are subjects that no fact of the relation edits."""
    prompt, paraphrases, known = relation
    sure, right = known_subjects(relation, lancet, model)
    good = [s for s in sure if sum(s in right[p] for p in paraphrases) >= 2]
    edited = good[::2][:MANY_PER_RELATION]
    edited = edited[: max(0, min(len(edited), len(sure) - 6))]
    rest = [s for s in sure if s not in edited]
    answers = list(dict.fromkeys(known[subject] for subject in sure))
    facts = []
    for subject in edited:
        place = answers.index(known[subject])
        target = answers[(place + 1 + len(facts) % max(1, len(answers) - 1)) % len(answers)]
        others = [s for s in rest if known[s] != target]
        if target == known[subject] or len(others) < 5:
            continue
        used = [p for p in paraphrases if subject in right[p]]
        first = len(facts) % len(others)
        others = others[first:] + others[:first]
        facts.append({"id": f"{name}-{len(facts)}", "subject": subject, "prompt": prompt, "target": target, "true": known[subject],
                      "paraphrases": [p.replace("{}", subject) for p in used],
                      "neighbors": [{"prompt": prompt.replace("{}", s), "answer": known[s]} for s in others[:5]],
                      "leak": [prompt.replace("{}", s) for s in others[:10]]})
    return facts


def write(name, facts):
    (OUT / name).write_text("".join(json.dumps(fact, ensure_ascii=False) + "\n" for fact in facts), encoding="utf-8")
    print(f"{len(facts)} facts in {OUT / name}")


def main():
    lancet, model = sys.argv[1:]
    write("known_facts.jsonl", [fact for name, relation in RELATIONS.items() for fact in facts_of(name, relation, lancet, model)])
    many = {name: (prompt, paraphrases, known | MORE_SUBJECTS.get(name, {}))
            for name, (prompt, paraphrases, known) in RELATIONS.items()} | MORE_RELATIONS
    facts = []
    for name, relation in many.items():
        found = many_facts_of(name, relation, lancet, model)
        print(f"{name}: {len(found)} facts")
        facts += found
    write("many_facts.jsonl", facts)


if __name__ == "__main__":
    main()
