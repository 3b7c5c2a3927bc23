"""What a user writes, for a type checker to read; nothing here is run. See `CONTRIBUTING.md`."""

import pandas as pd

from llmrec import (
    EASE,
    Assistant,
    ClosedForm,
    Dataset,
    Ensemble,
    GenerativeRecommender,
    ItemKNN,
    LanguageModelRanker,
    NextItemRidge,
    Popular,
    Privacy,
    TextEncoder,
    TransferClassifier,
    TransferRecommender,
    audit,
    compare,
    evaluate,
    explain,
    load_dataset,
    scrub,
    tune,
    zero_shot,
)

films = load_dataset("movielens-100k")
reviews = load_dataset("chinese-reviews")
print(reviews["text"].head())
split = films.split("leave_one_out")
encoder = TextEncoder.from_pretrained()
recommender = TransferRecommender(encoder, progress=False).fit(split.train, split.valid, epochs=8)
new_film = {"item_id": [9999], "text": ["Return of the Alien Queen (1999), Horror Sci-Fi"]}
catalogue = pd.concat([films.items[["item_id", "text"]], pd.DataFrame(new_film)])
larger = recommender.with_items(catalogue)
history = {"someone new": [183, 176]}
answer = larger.recommend(history, k=3)
answer.merge(catalogue, on="item_id")[["rank", "text"]]
assistant = Assistant(recommender, items=films.items)
reply = assistant.ask("something like Alien", k=3)
print(reply.reply, reply.items)
print(explain(larger, history["someone new"], 4).sentence())
report = evaluate(recommender, split)
report.round(3)
table = compare({"a": EASE().fit(split.train), "b": Popular().fit(split.train)}, split)
vectors = encoder.encode(["a", "b"])
print(vectors.shape, table.shape)
data = Dataset.from_frames(films.interactions, films.items)
other = Dataset.from_files("a.csv", "b.csv", columns={"a": "user_id"})
other.describe()
knn = ItemKNN(n_neighbours=5).fit(split.train)
both = Ensemble([knn, EASE().fit(split.train)], weights="validation").join(split.train, split.valid)
both.recommend({1: [1, 2]}, k=5, candidates=[1, 2, 3])
recommender.save_pretrained("folder")
again = TransferRecommender.from_pretrained("folder", encoder=encoder)
moved = again.adapt(split.train, split.valid, strategy="head")
gen = GenerativeRecommender(encoder).fit(split.train, split.valid)
ranker = LanguageModelRanker(first_stage=knn).fit(split.train, split.valid)
ranker.recommend(history, k=3)
clf = TransferClassifier(encoder).fit(["a"], [1]).predict(["b"])
best = tune(EASE, split, {"regularisation": (1.0, 100.0, "log")}, budget=3)
print(best.best, best.value, clf)
few = films.sample_users(20).at_least(user_events=5).k_core(3)
private = NextItemRidge(encoder).fit(split.train, privacy=Privacy(8.0))
closed = ClosedForm(encoder).fit(split.train, split.valid)
zero = zero_shot([recommender], films)
clean, found = scrub(["text"])
print(clean[0], found.shape, few.n_users, audit(split))
