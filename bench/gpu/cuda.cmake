# The CUDA programs of bench/gpu. Included by kernels/cuda/CMakeLists.txt: only there CUDA is a language of the build, with
# oss_cuda_options.
foreach(program roofs floor)
  add_executable(oss_gpu_${program} EXCLUDE_FROM_ALL ${CMAKE_CURRENT_LIST_DIR}/${program}.cu)
  oss_cuda_options(oss_gpu_${program})
  set_target_properties(oss_gpu_${program} PROPERTIES
    CUDA_RUNTIME_LIBRARY Static RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})
endforeach()
