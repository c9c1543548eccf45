#!/usr/bin/env python3
"""Writes tests/data/facts/known_facts.jsonl: facts that the embedded model answers rightly, for the table of docs/editing.md.

    make_facts.py LANCET MODEL_DIR

Candidates are public knowledge in ten relations. A fact is kept when the model's greedy text begins with the true answer
on its prompt and on two of its paraphrases; neighbours (five) and leak prompts (the rest of the relation, up to ten) are
other subjects of the relation on which the model is right. The new target is another answer of the relation.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

OUT = pathlib.Path(__file__).resolve().parent.parent / "data" / "facts" / "known_facts.jsonl"
PER_RELATION = 4

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


def facts_of(name, relation, lancet, model):
    prompt, paraphrases, known = relation
    right = {}
    for template in [prompt, *paraphrases]:
        texts = ask(lancet, model, [template.replace("{}", subject) for subject in known])
        right[template] = {subject for (subject, answer), text in zip(known.items(), texts) if begins(text, answer)}
    sure = [subject for subject in known if subject in right[prompt]]
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


def main():
    lancet, model = sys.argv[1:]
    facts = []
    for name, relation in RELATIONS.items():
        found = facts_of(name, relation, lancet, model)
        print(f"{name}: {len(found)} facts")
        facts += found
    OUT.write_text("".join(json.dumps(fact, ensure_ascii=False) + "\n" for fact in facts), encoding="utf-8")
    print(f"{len(facts)} facts in {OUT}")


if __name__ == "__main__":
    main()
