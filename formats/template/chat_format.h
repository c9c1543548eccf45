#pragma once
// A model's chat template with the special tokens that it names, and which bytes of a rendered
// conversation the assistant spoke.

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/json.h"
#include "formats/model_source.h"
#include "formats/template/chat_template.h"

namespace lancet {

class ChatFormat {
 public:
  /// Nothing when the model has no template. Errors: kInput for a template that cannot be read.
  [[nodiscard]] static std::optional<ChatFormat> of(const ModelSource& source);
  /// `special`: bos_token, eos_token, ... as the template names them.
  ChatFormat(std::string_view source, Json special);

  /// `conversation`: an array of {"role","content",...}, or an object with such a "messages", whose
  /// other members reach the template too. kInput for what is neither, or what the template
  /// refuses. Safe to call from many threads. `now`: seconds since 1970, for templates that print
  /// the date.
  [[nodiscard]] Rendered render(const Json& conversation, bool add_generation_prompt,
                                std::int64_t now) const;

  /// The same without a generation prompt; the spans are the assistant's turns: those of the
  /// template's {% generation %} blocks, else what follows the generation prompt of the messages
  /// before, up to the text that comes before the next message. kInput when the template does not
  /// let them be told (it writes earlier messages otherwise once later ones are there).
  [[nodiscard]] Rendered render_turns(const Json& conversation, std::int64_t now) const;

  /// Whether the template has {% generation %} blocks.
  [[nodiscard]] bool marks_turns() const noexcept { return marks_turns_; }

 private:
  ChatTemplate template_;
  Json special_;
  bool marks_turns_ = false;  ///< has {% generation %} blocks

  [[nodiscard]] std::pair<std::uint64_t, std::uint64_t> turn_span(const std::string& text,
                                                                  const Json& conversation,
                                                                  std::size_t turn,
                                                                  std::int64_t now) const;
};

}  // namespace lancet
