#pragma once
// Chat templates: the Jinja dialect of transformers, bounded in steps, depth and output, never
// executing anything else. Output equals transformers.apply_chat_template's character for
// character.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/json.h"

namespace lancet {

struct TemplateLimits {
  std::uint64_t steps = 20'000'000;
  std::uint64_t output_bytes = 64ULL << 20;
  int depth = 100;
};

struct Rendered {
  std::string text;
  std::vector<std::pair<std::uint64_t, std::uint64_t>>
      spans;  ///< byte ranges of {% generation %} blocks
};

class ChatTemplate {
 public:
  /// Throws kInput "chat template: line L: ..." for syntax that is wrong or not supported.
  explicit ChatTemplate(std::string_view source, TemplateLimits limits = {});
  ~ChatTemplate();
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;

  /// `context`: object with messages, tools, documents, add_generation_prompt, bos_token, ... (JSON
  /// null = none, a missing key = undefined). `now`: seconds since 1970 for strftime_now.
  /// raise_exception in the template is Error(kInput) with its message.
  [[nodiscard]] Rendered render(const Json& context, std::int64_t now) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lancet
