#pragma once
// Chameleon's image tokenizer: a picture as ids of the model's vocabulary. A convolutional encoder
// (VQGAN, Esser et al. 2021, arXiv:2012.09841) gives a vector for each patch of 16 x 16 pixels,
// whose nearest row of a code book is the patch's code.
//   residual block   x + conv(swish(norm(conv(swish(norm(x))))))      norm: 32 groups, eps 1e-6
//   attention block  x + out(softmax(q(n)^T k(n) / sqrt(C)) v(n)),    n = norm(x)
//   level            residual blocks (each with attention at some sizes), then stride 2

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "formats/model_source.h"
#include "model/image/picture.h"

namespace lancet {

class ImageTokenizer {
 public:
  /// kMismatch where the model has none, or one that differs from its config.
  [[nodiscard]] static ImageTokenizer open(const ModelSource& source);

  /// Ids of a picture as a prompt has them: that of its begin, row by row those of its patches,
  /// that of its end. The picture is scaled by its shorter side and cut to a square in the middle.
  [[nodiscard]] std::vector<std::int32_t> ids(const Picture& picture) const;
  /// The code of every patch; `pixels`: [1, 3, height, width].
  [[nodiscard]] std::vector<std::int64_t> codes(const at::Tensor& pixels) const;
  /// Values of a picture as the encoder sees them, [1, 3, size, size].
  [[nodiscard]] at::Tensor pixels(const Picture& picture) const;

 private:
  std::map<std::string, at::Tensor, std::less<>> weights_;  ///< without "model.vqmodel."
  std::int64_t levels_ = 0, blocks_ = 0;
  std::int64_t shorter_ = 0, width_ = 0, height_ = 0;  ///< sizes of scaled and cut pictures
  double rescale_ = 0;
  std::vector<float> mean_, deviation_;  ///< of red, green, blue
  std::vector<std::int32_t> id_of_code_;
  std::int32_t begin_ = 0, end_ = 0;

  void read_weights(const ModelSource& source, const Json& config);
  void read_vocabulary(const Json& config, std::int64_t codes);
  void read_preparation(const ModelSource& source, std::int64_t resolution);
  void check_depth() const;
  [[nodiscard]] const at::Tensor& weight(const std::string& name) const;
  [[nodiscard]] const at::Tensor& vector(const std::string& name, std::int64_t size) const;
  [[nodiscard]] at::Tensor convolved(const at::Tensor& x, const std::string& name,
                                     std::int64_t stride = 1, std::int64_t padding = 0) const;
  [[nodiscard]] at::Tensor normed(const at::Tensor& x, const std::string& name) const;
  [[nodiscard]] at::Tensor residual(const at::Tensor& x, const std::string& name) const;
  [[nodiscard]] at::Tensor attention(const at::Tensor& x, const std::string& name) const;
  [[nodiscard]] at::Tensor encoded(const at::Tensor& pixels) const;
};

}  // namespace lancet
