#pragma once
// RS of CounterFact (Meng et al. 2022, arXiv:2202.05262, section 3.1): how near what an edited
// model writes about a subject lies to reference texts about subjects that have the new answer, as
// the cosine of TF-IDF vectors. Reads the three files that are published with ROME.
//   words      runs of two or more letters, digits and underscores, in lower case
//   vector     (count of word w) idf_w over the words of the vocabulary

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/file.h"

namespace lancet {

class ReferenceTexts {
 public:
  /// A relation and its new answer, by their Wikidata ids ("P103", "Q150").
  using Answer = std::pair<std::string, std::string>;

  /// `folder`: attribute_snippets.json, idf.npy and tfidf_vocab.json. Of the first (some 100 MB)
  /// only what is about `answers` is kept. kInput for a file that is missing, damaged or does not
  /// fit the others.
  [[nodiscard]] static ReferenceTexts open(const fs::path& folder, const std::set<Answer>& answers);

  /// The texts about subjects with this answer, joined; null where there is none.
  [[nodiscard]] const std::string* about(const Answer& answer) const;
  /// Cosine of two texts in [0, 1]; nothing where one has no word of the vocabulary. The first one,
  /// a model's, is decomposed (NFKD) as in the published code.
  [[nodiscard]] std::optional<double> similarity(std::string_view written,
                                                 std::string_view reference) const;

 private:
  std::map<Answer, std::string> texts_;
  std::unordered_map<std::string, std::size_t> vocabulary_;
  std::vector<double> idf_;

  void read_vocabulary(const fs::path& path);
  void read_idf(const fs::path& path);
  void read_texts(const fs::path& path, const std::set<Answer>& answers);
  [[nodiscard]] std::map<std::size_t, double> vector_of(std::string_view text) const;
};

}  // namespace lancet
