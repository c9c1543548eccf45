// Rows in wanted languages, and responses in the language of their prompt. How languages are told
// and where that fails: distill/text/language.h.
#include "distill/text/language.h"

#include <algorithm>

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"
#include "distill/filter.h"

namespace lancet {
namespace {

constexpr FilterParameter kParameters[] = {
    part_parameter(),
    {.name = "keep",
     .kind = FilterParameter::Kind::kList,
     .help = "ISO 639-1 code of a language that stays; may come again; none = every one"},
    {.name = "unknown",
     .kind = FilterParameter::Kind::kFlag,
     .fallback = 1,
     .help = "keep texts whose language cannot be told (short ones, code)"},
    {.name = "match",
     .kind = FilterParameter::Kind::kFlag,
     .help = "drop rows whose response is in another language than the prompt, both known"}};

class Language final : public RowFilter {
 public:
  explicit Language(const FilterValues& values)
      : part_(values.part()),
        keep_(values.list("keep")),
        unknown_(values.flag("unknown")),
        match_(values.flag("match")) {
    const auto known = known_languages();
    for (const std::string& code : keep_) {
      if (std::find(known.begin(), known.end(), code) != known.end()) continue;
      fail(ErrorKind::kUsage, "curate",
           fmt::format("filter language: keep: expected one of {}, found '{}'",
                       fmt::join(known, ", "), printable(code)),
           did_you_mean(code, known));
    }
    if (keep_.empty() && !match_)
      fail(ErrorKind::kUsage, "curate", "filter language: expected keep or match, found neither",
           "e.g. --filter language:keep=en,keep=de");
  }

  std::optional<Drop> inspect(const Row& row, Sketch&) const override {
    if (!keep_.empty()) {
      const std::string code = guess_language(row.text(part_)).code;
      const bool wanted =
          code == "und" ? unknown_ : std::find(keep_.begin(), keep_.end(), code) != keep_.end();
      if (!wanted) return Drop{code == "und" ? "language not told" : "language " + code, code};
    }
    if (!match_) return std::nullopt;
    const std::string prompt = guess_language(row.text(RowPart::kPrompt)).code;
    const std::string response = guess_language(row.text(RowPart::kResponse)).code;
    if (prompt == response || prompt == "und" || response == "und") return std::nullopt;
    return Drop{"response in another language", prompt + " answered in " + response};
  }

 private:
  RowPart part_;
  std::vector<std::string> keep_;
  bool unknown_, match_;
};

}  // namespace

extern const Filter filter_language;
const Filter filter_language{
    .name = "language",
    .title = "Wanted languages; response in the prompt's language",
    .source = "",
    .parameters = kParameters,
    .make = [](const FilterValues& values, const FilterContext&) {
      return std::unique_ptr<RowFilter>(std::make_unique<Language>(values));
    }};

}  // namespace lancet
