#pragma once
// Post-processors of tokenizer.json: TemplateProcessing, BertProcessing, RobertaProcessing,
// ByteLevel, Sequence. They only add tokens around a single sequence; trimming of offsets
// (ByteLevel, Roberta) is left out on purpose: our offsets are the bytes that a token covers.

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "formats/tokenizer/function_ref.h"
#include "formats/tokenizer/tokenizer.h"
#include "formats/tokenizer/where.h"

namespace lancet {

class PostProcessor {
 public:
  PostProcessor() = default;
  /// JSON null adds nothing.
  PostProcessor(const Json& description, const Where& where);

  /// Adds the tokens, with empty ranges at the place where they stand.
  void apply(Encoding& encoding) const;
  /// Error(kInput) for an id that `is_token` does not know.
  void check_ids(FunctionRef<bool(TokenId)> is_token, const Where& where) const;
  /// First token that is put before, and last one that is put after the text.
  [[nodiscard]] std::optional<TokenId> first() const;
  [[nodiscard]] std::optional<TokenId> last() const;

 private:
  /// Ids, or the text where `is_text`.
  struct Item {
    bool is_text = false;
    std::vector<TokenId> ids;
  };
  using Template = std::vector<Item>;

  void add(const Json& description, const Where& where);
  void add_template(const Json& description, const Where& where);
  void add_pair(const Json& description, const Where& where);

  std::vector<Template> templates_;  ///< applied one after the other
};

using NamedToken = std::pair<TokenId, std::string>;
/// {"type":"TemplateProcessing"} with `bos` before and `eos` after the text; null for neither.
[[nodiscard]] Json template_processor(const std::optional<NamedToken>& bos,
                                      const std::optional<NamedToken>& eos);

}  // namespace lancet
