# The CUDA program of bench/gpu. Included by kernels/cuda/CMakeLists.txt: only there CUDA is a language of the build, with
# oss_cuda_options.
add_executable(oss_gpu_floor EXCLUDE_FROM_ALL ${CMAKE_CURRENT_LIST_DIR}/floor.cu)
oss_cuda_options(oss_gpu_floor)
set_target_properties(oss_gpu_floor PROPERTIES
  CUDA_RUNTIME_LIBRARY Static RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})
